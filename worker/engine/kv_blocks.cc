#include "worker/engine/kv_blocks.h"

#include <algorithm>
#include <utility>

namespace shardline {
namespace {

constexpr int32_t kNoBlock = -1;  // in a sequence's list: the window has passed

int64_t BlocksFor(int64_t positions) { return (positions + kBlockTokens - 1) / kBlockTokens; }

}  // namespace

KvBlocks::KvBlocks(const std::vector<int32_t>& blocks_per_group,
                   const std::vector<StateGroup>& groups, int64_t step_tokens)
    : step_tokens_(step_tokens) {
  for (size_t g = 0; g < groups.size(); ++g) {
    groups_.push_back(
        {BlockAllocator(blocks_per_group[g]), groups[g].window, groups[g].recurrent()});
  }
}

int64_t KvBlocks::FirstHeld(const Group& group, int64_t computed) {
  return group.window == 0 ? 0 : std::max<int64_t>(0, computed - group.window + 1) / kBlockTokens;
}

int64_t KvBlocks::EndHeld(const Group& group, int64_t computed, int64_t positions) const {
  if (group.recurrent) return 1;
  return BlocksFor(group.window == 0 ? positions : std::min(positions, computed + step_tokens_));
}

void KvBlocks::FreePassed(Sequence& sequence) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    std::vector<int32_t>& held = sequence.blocks[g];
    for (int64_t i = FirstHeld(groups_[g], sequence.computed); i-- > 0 && held[i] != kNoBlock;) {
      groups_[g].blocks.Give(std::exchange(held[i], kNoBlock));
    }
  }
}

bool KvBlocks::Grow(Sequence& sequence, int64_t positions, std::vector<BlockUpdate>& updates) {
  sequence.blocks.resize(groups_.size());
  FreePassed(sequence);
  const auto missing = [&](size_t g) {
    return EndHeld(groups_[g], sequence.computed, positions) -
           static_cast<int64_t>(sequence.blocks[g].size());
  };
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (missing(g) > groups_[g].blocks.free()) return false;
  }
  for (size_t g = 0; g < groups_.size(); ++g) {
    std::vector<int32_t>& held = sequence.blocks[g];
    for (int64_t n = missing(g); n > 0; --n) {
      held.push_back(groups_[g].blocks.Take());
      updates.push_back({static_cast<uint32_t>(sequence.slot), static_cast<uint32_t>(g),
                         static_cast<uint32_t>(held.size() - 1), held.back()});
    }
  }
  return true;
}

bool KvBlocks::Holds(const Sequence& sequence, int64_t positions) const {
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (groups_[g].recurrent && sequence.computed != positions) return false;
    if (groups_[g].recurrent) continue;
    const int64_t first = FirstHeld(groups_[g], positions);
    if (first < BlocksFor(positions) && sequence.blocks[g][first] == kNoBlock) return false;
  }
  return true;
}

void KvBlocks::Share(Sequence& sequence, const Sequence& from, int64_t positions,
                     std::vector<BlockUpdate>& updates) {
  sequence.blocks.resize(groups_.size());
  for (size_t g = 0; g < groups_.size(); ++g) {
    std::vector<int32_t>& held = sequence.blocks[g];
    if (groups_[g].recurrent) {
      held.push_back(groups_[g].blocks.Take());
      updates.push_back({.slot = static_cast<uint32_t>(sequence.slot),
                         .group = static_cast<uint32_t>(g),
                         .index = 0,
                         .block = held[0],
                         .copy_of = from.blocks[g][0]});
      continue;
    }
    held.assign(FirstHeld(groups_[g], positions), kNoBlock);
    for (int64_t i = FirstHeld(groups_[g], positions); i < BlocksFor(positions); ++i) {
      held.push_back(from.blocks[g][i]);
      groups_[g].blocks.Share(held.back());
      updates.push_back({static_cast<uint32_t>(sequence.slot), static_cast<uint32_t>(g),
                         static_cast<uint32_t>(i), held.back()});
    }
  }
}

bool KvBlocks::Fits(int64_t positions, int64_t shared, int64_t spare) const {
  return std::all_of(groups_.begin(), groups_.end(), [&](const Group& group) {
    if (group.recurrent) return group.blocks.free() > 0;  // those that run take no second one
    return EndHeld(group, shared, positions) - BlocksFor(shared) + spare <= group.blocks.free();
  });
}

void KvBlocks::Release(Sequence& sequence) {
  for (size_t g = 0; g < sequence.blocks.size(); ++g) {
    for (const int32_t block : sequence.blocks[g]) {
      if (block != kNoBlock) groups_[g].blocks.Give(block);
    }
  }
  sequence.blocks.clear();
}

// Beside full attention a window never runs out first, nor a recurrence beside either: see PlanKv.
const BlockAllocator& KvBlocks::fullest() const {
  const auto later = [](const Group& a, const Group& b) {  // a runs out after b
    if (a.recurrent != b.recurrent) return a.recurrent;
    if ((a.window == 0) != (b.window == 0)) return b.window == 0;
    return int64_t{a.blocks.used()} * b.blocks.total() <
           int64_t{b.blocks.used()} * a.blocks.total();
  };
  return std::max_element(groups_.begin(), groups_.end(), later)->blocks;
}

uint64_t KvBlocks::used() const { return groups_.empty() ? 0 : fullest().used(); }
uint64_t KvBlocks::total() const { return groups_.empty() ? 0 : fullest().total(); }

}  // namespace shardline
