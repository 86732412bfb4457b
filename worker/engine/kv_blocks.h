// The KV blocks of all groups: who holds which. What changes goes into the step plan as block
// updates.
//
// A group of full attention holds all of a sequence's positions. One with a window holds what the
// tokens to come can see, and room for one step: it takes blocks as the sequence goes on and gives
// back those that it has passed. What stands in a block table for a passed block is never read. A
// recurrent group holds one block of each sequence that runs, which tells of all its positions and
// of no fewer: it is copied where others are shared, and only while its sequence stands there.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/engine/sequence.h"
#include "worker/state/block_allocator.h"
#include "worker/state/state.h"

namespace shardline {

class KvBlocks {
 public:
  // `step_tokens`: the most that one step computes of a sequence.
  KvBlocks(const std::vector<int32_t>& blocks_per_group, const std::vector<StateGroup>& groups,
           int64_t step_tokens);

  // Makes room in every group for the next step on the way to `positions`, or takes nothing and
  // returns false.
  bool Grow(Sequence& sequence, int64_t positions, std::vector<BlockUpdate>& updates);
  // Whether `sequence` still has all that a token after its first `positions` (whole blocks, which
  // it has computed) sees of them.
  bool Holds(const Sequence& sequence, int64_t positions) const;
  // Lets `sequence`, which holds nothing, hold that too. There is room for it: see Fits.
  void Share(Sequence& sequence, const Sequence& from, int64_t positions,
             std::vector<BlockUpdate>& updates);
  // Whether Grow to `positions` works for a sequence that holds nothing but may share the first
  // `shared` of them, and leaves `spare` blocks in every group.
  bool Fits(int64_t positions, int64_t shared, int64_t spare) const;
  void Release(Sequence& sequence);

  // Of the group that runs out first.
  uint64_t used() const;
  uint64_t total() const;

 private:
  struct Group {
    BlockAllocator blocks;
    int64_t window;
    bool recurrent;
  };
  // Blocks [first, end) of a sequence that goes on from `computed` positions towards `positions`.
  static int64_t FirstHeld(const Group& group, int64_t computed);
  int64_t EndHeld(const Group& group, int64_t computed, int64_t positions) const;
  void FreePassed(Sequence& sequence);
  const BlockAllocator& fullest() const;

  std::vector<Group> groups_;
  int64_t step_tokens_;
};

}  // namespace shardline
