// Causal attention over the paged cache, one split of 256 absolute positions at a time. Within a
// split: keys are turned into the layout of packed weights, scores are a matrix product with them,
// softmax is taken in two passes, and values are another product. Splits are merged in ascending
// order as in online softmax (Milakov & Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022,
// arXiv:2205.14135). Every step of it treats a (query, head) pair for itself, so its bits do not
// depend on the queries beside it.
#include "kernels/cpu/isa/exp.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/tile.h"
#include "kernels/cpu/isa/transpose.h"

namespace shardline::SHARDLINE_ISA {
namespace {

constexpr float kInfinity = __builtin_inff();

struct Shape {
  int64_t group;  // query heads per kv head
  int64_t head_dim;
  int64_t value_dim;
  int64_t padded;          // value_dim rounded up to 16
  int64_t depth;           // head_dim rounded up to 2
  int64_t rows;            // pairs of (query, head) in the item; row = query * group + head
  int32_t first_position;  // of the item's first query
  int64_t window;          // positions that a query sees; 0: all
  int32_t begin;           // first position of the split
  int32_t from;            // first position, from `begin`, that the item's first query sees
  int32_t count;           // end of what its last query sees in the split; <= from: nothing is seen
};

// The first position that the window of the query at `position` holds.
int32_t WindowStart(const Shape& s, int32_t position) {
  return s.window > 0 && position >= s.window ? static_cast<int32_t>(position - s.window + 1) : 0;
}

Shape ShapeOf(const AttentionArgs& args, const AttentionItem& item, int32_t split) {
  Shape s;
  s.group = args.q.shape[1] / args.pages.k.shape[1];
  s.head_dim = args.q.shape[2];
  s.value_dim = args.pages.v.shape[3];
  s.padded = PaddedHeadDim(s.value_dim);
  s.depth = PaddedDepth(s.head_dim);
  s.rows = item.query_count * s.group;
  s.first_position = item.row->first_position + item.first_query;
  s.window = args.window;
  s.begin = split * kSplitPositions;
  s.from = WindowStart(s, s.first_position) - s.begin;
  s.from = s.from < 0 ? 0 : s.from;
  s.count = Least(s.first_position + item.query_count - s.begin, kSplitPositions);
  return s;
}

// The positions of the split that a row sees, from its beginning: [from, end).
struct Seen {
  int32_t from, end;
  bool any() const { return from < end; }
};
Seen SeenBy(const Shape& s, int64_t row) {
  const int32_t position = s.first_position + static_cast<int32_t>(row / s.group);
  const int32_t from = WindowStart(s, position) - s.begin;
  return {from < 0 ? 0 : from, Least(position + 1 - s.begin, kSplitPositions)};
}

template <typename T>
const T* QueryRow(const AttentionArgs& args, const AttentionItem& item, const Shape& s,
                  int64_t row) {
  const int64_t token = item.row->first_token + item.first_query + row / s.group;
  const int64_t head = item.kv_head * s.group + row % s.group;
  return RowOf<T>(args.q, token) + head * args.q.stride[1];
}

// Goes through the keys or the values of consecutive positions, each [head_dim] or [value_dim].
template <typename T>
class PageRows {
 public:
  PageRows(const View& pages, const AttentionItem& item, int32_t position)
      : pages_(pages), head_(item.kv_head * pages.stride[1]) {
    const auto block_tokens = static_cast<int32_t>(pages.shape[2]);
    block_ = item.row->blocks + position / block_tokens;
    offset_ = position % block_tokens;
  }
  SL_INLINE const T* Next() {
    if (offset_ == pages_.shape[2]) {
      ++block_;
      offset_ = 0;
    }
    return RowOf<T>(pages_, *block_) + head_ + offset_++ * pages_.stride[2];
  }

 private:
  const View& pages_;
  int64_t head_;
  const int32_t* block_;
  int64_t offset_;
};

// Blocks lie anywhere, so the processor's own prefetching stops at their ends.
template <typename T>
SL_INLINE void Prefetch(const T* row, int64_t n) {
  for (int64_t i = 0; i < n; i += 64 / sizeof(T)) __builtin_prefetch(row + i, 0, 2);
}

// Panels as the tile reads them: [panel][head_dim][rows] f32 or [panel][head_dim / 2][rows][2]
// bf16.
template <typename T>
void PackQueries(const AttentionArgs& args, const AttentionItem& item, const Shape& s, bool pairs,
                 float* out) {
  for (int64_t first = 0; first < s.rows; first += kTileRows) {
    const int64_t count = Least<int64_t>(kTileRows, s.rows - first);
    const T* rows[kTileRows];
    for (int64_t r = 0; r < count; ++r) rows[r] = QueryRow<T>(args, item, s, first + r);
    PackPanel(rows, count, s.head_dim, pairs, out + first * (pairs ? s.depth / 2 : s.depth));
  }
}

// Keys as packed weights: groups of 16 positions, [head_dim][16] f32 (of f16 too) or
// [head_dim / 2][16][2] bf16.
// Nothing is read that has not been written, or that no query sees: beyond `count` stand copies of
// the last key, and before `from` copies of the first.
template <typename T>
void PackKeys(const AttentionArgs& args, const AttentionItem& item, const Shape& s, float* out) {
  constexpr int32_t kAhead = 32;
  PageRows<T> keys(args.pages.k, item, s.begin + s.from), ahead(keys);
  PageRows<T> values(args.pages.v, item, s.begin + s.from);
  for (int32_t j = s.from; j < Least(s.from + kAhead, s.count); ++j) {
    Prefetch(ahead.Next(), s.head_dim);
  }
  const T* rows[16];
  for (int32_t first = s.from / 16 * 16; first < s.count; first += 16) {
    int32_t j = s.from > first ? s.from - first : 0;
    for (int32_t before = 0; before < j; ++before) rows[before] = PageRows<T>(keys).Next();
    for (; j < 16; ++j) {
      if (first + j >= s.count) {
        rows[j] = rows[j - 1];
        continue;
      }
      rows[j] = keys.Next();
      Prefetch(values.Next(), s.value_dim);  // they are next
      if (first + j + kAhead < s.count) Prefetch(ahead.Next(), s.head_dim);
    }
    if constexpr (std::is_same_v<T, Bf16>) {
      PackPanel(rows, 16, s.head_dim, true, out + first * s.depth / 2);
    } else {
      Interleave(rows, 16, s.head_dim, out + first * s.head_dim);
    }
  }
}

// Values as f32 weights: groups of 16 dimensions, [position][16].
template <typename T>
void PackValues(const AttentionArgs& args, const AttentionItem& item, const Shape& s, float* out) {
  PageRows<T> values(args.pages.v, item, s.begin + s.from);
  for (int32_t j = s.from; j < s.count; ++j) {
    const T* value = values.Next();
    float* to = out + j * 16;
    int64_t i = 0;
    for (; i + 16 <= s.value_dim; i += 16) Store(to + i * kSplitPositions, LoadN(value + i, 16));
    if (i < s.value_dim) Store(to + i * kSplitPositions, LoadN(value + i, s.value_dim - i));
  }
}

template <typename Product>
void Scores(const Shape& s, const float* queries, const float* keys, float* scores) {
  constexpr int64_t kStepDepth = Product::kWStep / 16;
  constexpr int64_t kBytesPerDepth = sizeof(typename Product::X) * Product::kXStep / kStepDepth;
  const int64_t depth = kStepDepth == 2 ? s.depth : s.head_dim;
  const int64_t first_group = s.from / 16;
  for (int64_t first = 0; first < s.rows; first += kTileRows) {
    TileCall tile;
    tile.x = reinterpret_cast<const char*>(queries) + first * s.depth * kBytesPerDepth;
    tile.w = reinterpret_cast<const typename Product::W*>(keys) + first_group * depth * 16;
    tile.w_group = depth * 16;
    tile.steps = depth / kStepDepth;
    tile.sums = scores + first * kSplitPositions + first_group * 16;
    tile.sums_row = kSplitPositions;
    Tiles<Product>(tile, static_cast<int>(Least<int64_t>(kTileRows, s.rows - first)),
                   (s.count + 15) / 16 - first_group);
  }
}

// The scores seen, scaled, become cap * tanh(score / cap).
void Cap(float* scores, Seen seen, float scale, float cap) {
  const float factor = scale / cap;
  for (int32_t i = seen.from; i < seen.end; ++i) scores[i] = cap * Tanh(scores[i] * factor);
}

template <typename T>
SL_INLINE float BiasAt(float slope, int32_t position) {
  return Rounded<T>(slope * Rounded<T>(static_cast<float>(position)));
}

// Scores of one row := scaled and with their bias, over the sixteens that `seen` touches.
void AddAlibi(const AttentionArgs& args, const Shape& s, const AttentionItem& item, int64_t row,
              Seen seen, float* scores) {
  const float slope = args.alibi.slopes[item.kv_head * s.group + row % s.group];
  const int32_t position = s.first_position + static_cast<int32_t>(row / s.group);
  const int32_t begin = seen.from / 16 * 16, end = (seen.end + 15) / 16 * 16;
  const float own = BiasAt<Bf16>(slope, position);
  for (int32_t i = begin; i < end; ++i) {
    const float bias = args.alibi.rounded ? BiasAt<Bf16>(slope, s.begin + i) - own
                                          : slope * static_cast<float>(s.begin + i - position);
    scores[i] = MulAdd(scores[i], args.scale, bias * args.alibi.scale);
  }
}

// The scores seen become e^(scale * score - max), the rest of their first and last sixteen zero.
void Softmax(float* scores, Seen seen, float scale, float* max, float* sum) {
  const int32_t begin = seen.from / 16 * 16, end = (seen.end + 15) / 16 * 16;
  alignas(64) float lane[16];
  for (int j = 0; j < 16; ++j) lane[j] = -kInfinity;
  for (int32_t i = begin; i < seen.from; ++i) scores[i] = -kInfinity;
  for (int32_t i = seen.end; i < end; ++i) scores[i] = -kInfinity;
  for (int32_t i = begin; i < end; i += 16) {
    for (int j = 0; j < 16; ++j) {
      const bool is_seen = i + j >= seen.from && i + j < seen.end;
      const float score = is_seen ? scores[i + j] * scale : -kInfinity;
      scores[i + j] = score;
      lane[j] = score > lane[j] ? score : lane[j];
    }
  }
  float top = lane[0];
  for (int j = 1; j < 16; ++j) top = lane[j] > top ? lane[j] : top;
  for (int j = 0; j < 16; ++j) lane[j] = 0.0f;
  for (int32_t i = begin; i < end; i += 16) {
    for (int j = 0; j < 16; ++j) {
      scores[i + j] = Exp(scores[i + j] - top);
      lane[j] += scores[i + j];
    }
  }
  for (int32_t i = begin; i < seen.from; ++i) scores[i] = 0.0f;
  for (int32_t i = seen.end; i < end; ++i) scores[i] = 0.0f;
  *max = top;
  *sum = SumLanes(lane);
}

// One row's weighted sum over [from, end), begun or gone on with.
void WeighAlone(TileCall tile, int32_t from, int32_t end, int64_t row, int64_t padded,
                bool resume) {
  if (from >= end) return;
  tile.x = static_cast<const float*>(tile.x) + row * kSplitPositions + from;
  tile.w = static_cast<const float*>(tile.w) + from * 16;
  tile.steps = end - from;
  tile.sums += row * padded;
  tile.resume = resume;
  Tiles<F32Product<kSplitPositions>>(tile, 1, padded / 16);
}

// Weighted sums of values, each row's over the positions that it sees, in ascending order. Rows of
// a tile share the positions that all of them see; each goes alone over those before and after.
void Weigh(const Shape& s, const float* scores, const float* values, float* out) {
  for (int64_t first = 0; first < s.rows; first += kTileRows) {
    const int64_t rows = Least<int64_t>(kTileRows, s.rows - first);
    // The first row's sight ends first, the last row's begins last.
    Seen shared{SeenBy(s, first + rows - 1).from, SeenBy(s, first).end};
    if (!shared.any()) shared = {kSplitPositions, kSplitPositions};  // each alone, all the way
    TileCall tile;
    tile.x = scores + first * kSplitPositions;
    tile.w = values;
    tile.w_group = kSplitPositions * 16;
    tile.sums = out + first * s.padded;
    tile.sums_row = s.padded;
    bool begun = false;
    for (int64_t r = 0; r < rows; ++r) {
      const Seen seen = SeenBy(s, first + r);
      begun = begun || seen.from < Least(shared.from, seen.end);
    }
    for (int64_t r = 0; r < rows && begun; ++r) {
      const Seen seen = SeenBy(s, first + r);
      float* sums = tile.sums + r * s.padded;
      for (int64_t i = 0; i < s.padded; ++i) sums[i] = 0.0f;
      WeighAlone(tile, seen.from, Least(shared.from, seen.end), r, s.padded, false);
    }
    if (shared.any()) {
      TileCall together = tile;
      together.x = static_cast<const float*>(tile.x) + shared.from;
      together.w = values + shared.from * 16;
      together.steps = shared.end - shared.from;
      together.resume = begun;
      Tiles<F32Product<kSplitPositions>>(together, static_cast<int>(rows), s.padded / 16);
    }
    for (int64_t r = 0; r < rows; ++r) {
      WeighAlone(tile, shared.end, SeenBy(s, first + r).end, r, s.padded, true);
    }
  }
}

template <typename T>
void FinishRow(const float* values, float sum, int64_t n, T* out) {
  for (int64_t i = 0; i < n; ++i) Put(out + i, values[i] / sum);
}

// Parts of the thread's memory, in floats.
int64_t QueryFloats(int64_t rows, int64_t head_dim) { return rows * PaddedHeadDim(head_dim); }
int64_t KeyFloats(int64_t head_dim) { return kSplitPositions * PaddedHeadDim(head_dim); }

}  // namespace

int64_t AttentionBytes(int64_t rows, int64_t head_dim) {
  const int64_t floats =
      QueryFloats(rows, head_dim) + 2 * KeyFloats(head_dim) + rows * kSplitPositions;
  return (floats * 4 + 63) / 64 * 64;
}

void AttendSplit(const AttentionArgs& args, const AttentionItem& item, int32_t split, void* memory,
                 const AttentionState& partial) {
  const Shape s = ShapeOf(args, item, split);
  auto* keys = static_cast<float*>(memory);
  float* values = keys + KeyFloats(s.head_dim);
  float* scores = values + KeyFloats(s.head_dim);
  float* queries = scores + s.rows * kSplitPositions;
  const bool bf16_cache = args.pages.k.type == DType::kBF16;
  bool pairs = false;
#if defined(__AVX512BF16__)
  pairs = bf16_cache && args.q.type == DType::kBF16;
#endif
  SL_FOR_FLOAT_TYPE(args.q.type, T, PackQueries<T>(args, item, s, pairs, queries));
  SL_FOR_FLOAT_TYPE(args.pages.k.type, T, {
    PackKeys<T>(args, item, s, keys);
    PackValues<T>(args, item, s, values);
  });
  if (!bf16_cache) {
    Scores<F32Product<0>>(s, queries, keys, scores);
#if defined(__AVX512BF16__)
  } else if (pairs) {
    Scores<PairsProduct>(s, queries, keys, scores);
#endif
  } else {
    Scores<WidenedProduct>(s, queries, keys, scores);
  }
  for (int64_t row = 0; row < s.rows; ++row) {
    const Seen seen = SeenBy(s, row);
    if (!seen.any()) continue;
    float* own = scores + row * kSplitPositions;
    const bool biased = args.alibi.slopes != nullptr, capped = args.score_cap > 0;
    if (biased) AddAlibi(args, s, item, row, seen, own);
    if (capped) Cap(own, seen, args.scale, args.score_cap);
    Softmax(own, seen, biased || capped ? 1.0f : args.scale, partial.max + row, partial.sum + row);
  }
  Weigh(s, scores, values, partial.values);
}

void AttendMerge(const AttentionArgs& args, const AttentionItem& item, int32_t split,
                 const AttentionState& partial, const AttentionState& total) {
  const Shape s = ShapeOf(args, item, split);
  for (int64_t row = 0; row < s.rows; ++row) {
    if (!SeenBy(s, row).any()) continue;  // not a single operation, so that -0 stays -0
    const int32_t position = s.first_position + static_cast<int32_t>(row / s.group);
    const float* from = partial.values + row * s.padded;
    float* to = total.values + row * s.padded;
    if (split == WindowStart(s, position) / kSplitPositions) {  // the row's first
      total.max[row] = partial.max[row];
      total.sum[row] = partial.sum[row];
      for (int64_t i = 0; i < s.padded; ++i) to[i] = from[i];
      continue;
    }
    const float max = partial.max[row] > total.max[row] ? partial.max[row] : total.max[row];
    const float old_factor = Exp(total.max[row] - max);
    const float new_factor = Exp(partial.max[row] - max);
    total.max[row] = max;
    total.sum[row] = total.sum[row] * old_factor + partial.sum[row] * new_factor;
    for (int64_t i = 0; i < s.padded; ++i) to[i] = to[i] * old_factor + from[i] * new_factor;
  }
}

void AttendFinish(const AttentionArgs& args, const AttentionItem& item,
                  const AttentionState& total) {
  const Shape s = ShapeOf(args, item, 0);
  for (int64_t row = 0; row < s.rows; ++row) {
    const int64_t token = item.row->first_token + item.first_query + row / s.group;
    const int64_t head = item.kv_head * s.group + row % s.group;
    SL_FOR_FLOAT_TYPE(args.out.type, T,
                      FinishRow(total.values + row * s.padded, total.sum[row], s.value_dim,
                                RowOf<T>(args.out, token) + head * args.out.stride[1]));
  }
}

}  // namespace shardline::SHARDLINE_ISA
