// Attention's schedule. An item is a few queries of one row with all query heads of one kv head.
// With enough items, a thread takes an item through all its splits; with few (a single sequence
// decoding), the splits themselves are spread over the threads, some at a time, and merged in
// order. Both make the same calls on the same numbers, so the bits are the same.
#include "kernels/cpu/attention.h"

#include <algorithm>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace shardline {
namespace {

constexpr int64_t kItemRows = 96;  // (query, head) pairs that share the packing of keys and values
constexpr int64_t kUnitsPerThread = 4;  // splits computed between two merges

int64_t QueriesPerItem(int64_t group) { return std::max<int64_t>(1, kItemRows / group); }
int64_t RowsPerItem(int64_t group) { return QueriesPerItem(group) * group; }
int64_t StateBytes(int64_t rows, int64_t value_dim) {
  return static_cast<int64_t>(
      Scratch::Rounded(AttentionStateFloats(rows, value_dim) * sizeof(float)));
}
// An upper bound of the items for which splits are spread over the threads.
int64_t FewItems(int threads) { return 2 * threads; }

AttentionState StateAt(void* memory, int64_t rows) {
  auto* floats = static_cast<float*>(memory);
  return {.max = floats, .sum = floats + rows, .values = floats + 2 * rows};
}

size_t Needed(const Kernels& kernels, int64_t rows, int64_t head_dim, int64_t value_dim,
              int threads) {
  const int64_t state = StateBytes(rows, value_dim);
  const int64_t private_bytes = kernels.attention_bytes(rows, head_dim) + 2 * state;
  return threads * (private_bytes + kUnitsPerThread * state) + FewItems(threads) * state;
}

struct Work {
  const Kernels& kernels;
  const AttentionArgs& args;
  int64_t kv_heads, queries_per_item, rows_per_item;
  int64_t private_bytes, state_bytes;
  std::byte* private_memory;  // [threads, private_bytes]
  std::byte* partials;        // [threads * kUnitsPerThread, state_bytes]
  std::byte* totals;          // [FewItems, state_bytes]

  int64_t ItemsOf(const AttentionRow& row) const {
    return (row.token_count + queries_per_item - 1) / queries_per_item * kv_heads;
  }

  // Item `index` of row `row`: its last queries, the longest work, first.
  AttentionItem ItemAt(const AttentionRow& row, int64_t index) const {
    const int64_t last = ItemsOf(row) / kv_heads - 1;
    const auto first = static_cast<int32_t>((last - index / kv_heads) * queries_per_item);
    return {
        .row = &row,
        .kv_head = static_cast<int32_t>(index % kv_heads),
        .first_query = first,
        .query_count = std::min(static_cast<int32_t>(queries_per_item), row.token_count - first)};
  }

  // The splits that any query of the item sees.
  struct Splits {
    int32_t begin, end;
  };
  Splits SplitsOf(const AttentionItem& item) const {
    const int32_t first = item.row->first_position + item.first_query;
    const int64_t start = args.window > 0 ? std::max<int64_t>(0, first - args.window + 1) : 0;
    return {static_cast<int32_t>(start / kSplitPositions),
            (first + item.query_count + kSplitPositions - 1) / kSplitPositions};
  }

  AttentionState State(std::byte* memory, int64_t index) const {
    return StateAt(memory + index * state_bytes, rows_per_item);
  }
};

// One item through all its splits, on thread `part`.
void RunItem(const Work& work, const AttentionItem& item, int part) {
  std::byte* memory = work.private_memory + part * work.private_bytes;
  std::byte* states = memory + work.private_bytes - 2 * work.state_bytes;
  const AttentionState partial = work.State(states, 0), total = work.State(states, 1);
  const Work::Splits splits = work.SplitsOf(item);
  for (int32_t split = splits.begin; split < splits.end; ++split) {
    work.kernels.attend_split(work.args, item, split, memory, partial);
    work.kernels.attend_merge(work.args, item, split, partial, total);
  }
  work.kernels.attend_finish(work.args, item, total);
}

void RunItems(const Work& work, const OpContext& context) {
  const AttentionArgs& args = work.args;
  int64_t most = 0;
  for (int32_t r = 0; r < args.row_count; ++r) most = std::max(most, work.ItemsOf(args.rows[r]));
  // Row after row within a rank of items, so that an index is found without a table.
  ParallelFor(context, most * args.row_count, [&](int64_t i, int part) {
    const AttentionRow& row = args.rows[i % args.row_count];
    if (i / args.row_count < work.ItemsOf(row)) {
      RunItem(work, work.ItemAt(row, i / args.row_count), part);
    }
  });
}

// A split of an item, as a position in the list of all of them.
struct Unit {
  AttentionItem item;
  int64_t item_index = 0;
  int32_t split = 0;
};

bool FindUnit(const Work& work, int64_t index, Unit* unit) {
  unit->item_index = 0;
  for (int32_t r = 0; r < work.args.row_count; ++r) {
    const AttentionRow& row = work.args.rows[r];
    for (int64_t i = 0; i < work.ItemsOf(row); ++i, ++unit->item_index) {
      unit->item = work.ItemAt(row, i);
      const Work::Splits splits = work.SplitsOf(unit->item);
      if (index < splits.end - splits.begin) {
        unit->split = splits.begin + static_cast<int32_t>(index);
        return true;
      }
      index -= splits.end - splits.begin;
    }
  }
  return false;
}

void RunSplits(const Work& work, const OpContext& context, int64_t units) {
  const int64_t wave = ThreadsOf(context) * kUnitsPerThread;
  for (int64_t begin = 0; begin < units; begin += wave) {
    const int64_t count = std::min(wave, units - begin);
    ParallelFor(context, count, [&](int64_t i, int part) {
      Unit unit;
      if (!FindUnit(work, begin + i, &unit)) return;
      work.kernels.attend_split(work.args, unit.item, unit.split,
                                work.private_memory + part * work.private_bytes,
                                work.State(work.partials, i));
    });
    for (int64_t i = 0; i < count; ++i) {
      Unit unit;
      if (!FindUnit(work, begin + i, &unit)) return;
      const AttentionState total = work.State(work.totals, unit.item_index);
      work.kernels.attend_merge(work.args, unit.item, unit.split, work.State(work.partials, i),
                                total);
      if (unit.split + 1 == work.SplitsOf(unit.item).end) {
        work.kernels.attend_finish(work.args, unit.item, total);
      }
    }
  }
}

}  // namespace

size_t AttentionScratchBytes(const Kernels& kernels, const ScratchLimits& limits, int threads) {
  if (limits.kv_heads == 0) return 0;
  return Needed(kernels, RowsPerItem(limits.heads / limits.kv_heads), limits.head_dim,
                limits.head_dim, threads) +
         64;
}

void CpuAttention(const Kernels& kernels, const OpContext& context, const AttentionArgs& args) {
  const int threads = ThreadsOf(context);
  const int64_t kv_heads = args.pages.k.shape[1], group = args.q.shape[1] / kv_heads;
  const int64_t head_dim = args.q.shape[2], value_dim = args.pages.v.shape[3];
  const int64_t rows = RowsPerItem(group);
  Scratch scratch(context, Needed(kernels, rows, head_dim, value_dim, threads));
  const int64_t state = StateBytes(rows, value_dim);
  Work work{.kernels = kernels,
            .args = args,
            .kv_heads = kv_heads,
            .queries_per_item = QueriesPerItem(group),
            .rows_per_item = rows,
            .private_bytes = kernels.attention_bytes(rows, head_dim) + 2 * state,
            .state_bytes = state};
  work.private_memory = static_cast<std::byte*>(scratch.Take(threads * work.private_bytes));
  work.partials = static_cast<std::byte*>(scratch.Take(threads * kUnitsPerThread * state));
  work.totals = static_cast<std::byte*>(scratch.Take(FewItems(threads) * state));

  int64_t items = 0, units = 0;
  for (int32_t r = 0; r < args.row_count && items < FewItems(threads); ++r) {
    for (int64_t i = 0; i < work.ItemsOf(args.rows[r]); ++i, ++items) {
      const Work::Splits splits = work.SplitsOf(work.ItemAt(args.rows[r], i));
      units += splits.end - splits.begin;
    }
  }
  if (threads > 1 && items < FewItems(threads) && units > items) {
    RunSplits(work, context, units);
  } else {
    RunItems(work, context);
  }
}

}  // namespace shardline
