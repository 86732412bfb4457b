// The KV blocks of all groups: who holds which. What changes goes into the step plan as block
// updates.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/engine/sequence.h"
#include "worker/state/block_allocator.h"

namespace shardline {

class KvBlocks {
 public:
  explicit KvBlocks(const std::vector<int32_t>& blocks_per_group);

  // Makes room for `positions` in every group, or changes nothing and returns false.
  bool Grow(Sequence& sequence, int64_t positions, std::vector<BlockUpdate>& updates);
  // Lets `sequence`, which holds nothing, hold what `from` has of the first `positions` (whole
  // blocks) too.
  void Share(Sequence& sequence, const Sequence& from, int64_t positions,
             std::vector<BlockUpdate>& updates);
  // Whether `positions` fit a sequence that holds nothing but may share the first `shared` of them,
  // with `spare` blocks left in every group.
  bool Fits(int64_t positions, int64_t shared, int64_t spare) const;
  void Release(Sequence& sequence);

  // Of the group that is used most.
  uint64_t used() const;
  uint64_t total() const;

 private:
  const BlockAllocator& fullest() const;

  std::vector<BlockAllocator> groups_;
};

}  // namespace shardline
