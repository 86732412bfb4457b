#include "worker/state/state.h"

#include <cassert>

#include "worker/state/memory.h"

namespace shardline {

struct StateStorage::Group {
  StateGroup shape;
  int32_t blocks;
  int64_t table_size;          // entries per slot
  size_t plane_bytes;          // keys, or values, of one layer
  MemoryPool pool;             // [layers, 2, plane_bytes]
  std::vector<int32_t> table;  // [slots, table_size]
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
    group.table_size = (max_context + kBlockTokens - 1) / kBlockTokens;
    const size_t block_plane =
        size_t{1} * shape.kv_heads * kBlockTokens * shape.head_dim * SizeOf(shape.type);
    group.plane_bytes = (group.blocks * block_plane + 4095) / 4096 * 4096;
    auto pool = MemoryPool::Create(group.plane_bytes * 2 * shape.layers);
    if (!pool.ok()) {
      return ResourceExhausted("KV cache: ", Message(pool.status()), "; lower --kv-cache-bytes");
    }
    group.pool = *std::move(pool);
    // Block 0 where nothing was assigned: a table is never read past what the plan has assigned.
    group.table.assign(static_cast<size_t>(max_sequences) * group.table_size, 0);
    storage->groups_.push_back(std::move(group));
  }
  return storage;
}

StateStorage::~StateStorage() = default;

void StateStorage::Apply(const std::vector<BlockUpdate>& updates) {
  for (const BlockUpdate& update : updates) {
    Group& group = groups_[update.group];
    assert(update.index < group.table_size && update.block >= 0 && update.block < group.blocks);
    group.table[update.slot * group.table_size + update.index] = update.block;
  }
}

KvPages StateStorage::pages(int group, int layer) const {
  const Group& g = groups_[group];
  std::byte* keys = g.pool.data() + g.plane_bytes * 2 * layer;
  const auto view = [&](std::byte* data) {
    return View::Contiguous(data, g.shape.type,
                            {g.blocks, g.shape.kv_heads, kBlockTokens, g.shape.head_dim});
  };
  return {view(keys), view(keys + g.plane_bytes)};
}

const int32_t* StateStorage::blocks(int group, uint32_t slot) const {
  const Group& g = groups_[group];
  return g.table.data() + slot * g.table_size;
}

}  // namespace shardline
