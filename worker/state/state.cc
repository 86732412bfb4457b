#include "worker/state/state.h"

#include <sched.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include "worker/state/memory.h"

namespace shardline {
namespace {

constexpr size_t kPopulateAtOnce = size_t{256} << 20, kPopulateStep = size_t{32} << 20;

}  // namespace

struct StateStorage::Group {
  StateGroup shape;
  int32_t blocks;
  int64_t table_size;           // entries per slot
  std::vector<size_t> arrays;   // bytes of one block in each array of a layer
  std::vector<size_t> offsets;  // of [layers * arrays] in the pool
  MemoryPool pool;
  std::vector<int32_t> table;  // [slots, table_size]

  size_t block_bytes(size_t array) const { return arrays[array % arrays.size()]; }
  std::byte* array(int layer, int which) const {
    return pool.data() + offsets[layer * arrays.size() + which];
  }
  void Copy(int32_t from, int32_t to) const {
    for (size_t i = 0; i < offsets.size(); ++i) {
      std::byte* blocks_of = pool.data() + offsets[i];
      std::memcpy(blocks_of + to * block_bytes(i), blocks_of + from * block_bytes(i),
                  block_bytes(i));
    }
  }
};

absl::StatusOr<std::unique_ptr<StateStorage>> StateStorage::Create(
    std::vector<StateGroup> groups, std::vector<int32_t> blocks_per_group, int max_sequences,
    int64_t max_context) {
  if (groups.size() != blocks_per_group.size() || max_sequences < 1 || max_context < 1) {
    return InvalidArgument("state storage: ", groups.size(), " groups, ", blocks_per_group.size(),
                           " block counts, ", max_sequences, " sequences, context ", max_context);
  }
  std::unique_ptr<StateStorage> storage(new StateStorage);
  for (size_t g = 0; g < groups.size(); ++g) {
    const StateGroup& shape = groups[g];
    Group group{.shape = shape, .blocks = blocks_per_group[g]};
    group.table_size = shape.recurrent() ? 1 : (max_context + kBlockTokens - 1) / kBlockTokens;
    group.arrays = shape.array_bytes();
    size_t bytes = 0;
    for (size_t i = 0; i < shape.layers * group.arrays.size(); ++i) {
      group.offsets.push_back(bytes);
      bytes += (group.blocks * group.block_bytes(i) + 4095) / 4096 * 4096;
    }
    auto pool = MemoryPool::Create(bytes);
    if (!pool.ok()) {
      return ResourceExhausted("KV cache: ", Message(pool.status()), "; lower --kv-cache-bytes");
    }
    group.pool = *std::move(pool);
    // Block 0 where nothing was assigned: a table is never read past what the plan has assigned.
    group.table.assign(static_cast<size_t>(max_sequences) * group.table_size, 0);
    storage->groups_.push_back(std::move(group));
  }
  storage->PopulateAll();
  return storage;
}

StateStorage::~StateStorage() = default;

void StateStorage::PopulateAll() {
  const int64_t next = Populate(0, kPopulateAtOnce, {});
  if (next < 0) return;
  populating_ = std::jthread([this, next](const std::stop_token& stop) {
    const sched_param none{};
    sched_setscheduler(0, SCHED_IDLE, &none);  // this thread alone
    for (int64_t block = next; block >= 0 && !stop.stop_requested();) {
      block = Populate(block, kPopulateStep, stop);
    }
  });
}

int64_t StateStorage::Populate(int64_t first, size_t bytes, const std::stop_token& stop) const {
  int64_t most = 0;
  size_t block_bytes = 1;  // of one block in every group
  for (const Group& group : groups_) {
    most = std::max<int64_t>(most, group.blocks);
    block_bytes += group.shape.block_bytes();
  }
  const int64_t end = std::min<int64_t>(most, first + 1 + bytes / block_bytes);
  for (const Group& group : groups_) {
    const int64_t blocks = std::max<int64_t>(0, std::min<int64_t>(end, group.blocks) - first);
    for (size_t i = 0; i < group.offsets.size() && !stop.stop_requested(); ++i) {
      group.pool.Populate(group.offsets[i] + first * group.block_bytes(i),
                          blocks * group.block_bytes(i));
    }
  }
  return end < most ? end : -1;
}

bool StateStorage::Fits(const std::vector<BlockUpdate>& updates) const {
  return std::all_of(updates.begin(), updates.end(), [this](const BlockUpdate& update) {
    if (update.group >= groups_.size()) return false;
    const Group& group = groups_[update.group];
    return update.slot < group.table.size() / group.table_size && update.index < group.table_size &&
           update.block >= 0 && update.block < group.blocks && update.copy_of < group.blocks;
  });
}

bool StateStorage::Fits(const StepPlan& plan) const {
  return Fits(plan.blocks) && std::all_of(plan.rows.begin(), plan.rows.end(), [this](auto& row) {
           return std::all_of(groups_.begin(), groups_.end(), [&row](const Group& group) {
             return row.slot < group.table.size() / group.table_size;
           });
         });
}

void StateStorage::Apply(const std::vector<BlockUpdate>& updates) {
  assert(Fits(updates));
  for (const BlockUpdate& update : updates) {
    Group& group = groups_[update.group];
    group.table[update.slot * group.table_size + update.index] = update.block;
    if (update.copy_of >= 0) group.Copy(update.copy_of, update.block);
  }
}

KvPages StateStorage::pages(int group, int layer) const {
  const Group& g = groups_[group];
  const auto view = [&](int array) {
    return View::Contiguous(g.array(layer, array), g.shape.type,
                            {g.blocks, g.shape.kv_heads, kBlockTokens, g.shape.head_dim});
  };
  const View keys = view(0);
  if (g.shape.shared_values > 0) return {keys, keys.Columns(0, g.shape.shared_values)};
  return {keys, view(1)};
}

View StateStorage::part(int group, int layer, int part) const {
  const Group& g = groups_[group];
  const StatePart& shape = g.shape.parts[part];
  return View::Contiguous(g.array(layer, part), shape.type, {g.blocks, shape.rows, shape.cols});
}

const int32_t* StateStorage::blocks(int group, uint32_t slot) const {
  const Group& g = groups_[group];
  return g.table.data() + slot * g.table_size;
}

}  // namespace shardline
