#include "worker/engine/kv_blocks.h"

#include <algorithm>

#include "worker/state/state.h"

namespace shardline {
namespace {

int64_t BlocksFor(int64_t positions) { return (positions + kBlockTokens - 1) / kBlockTokens; }

}  // namespace

KvBlocks::KvBlocks(const std::vector<int32_t>& blocks_per_group) {
  for (const int32_t blocks : blocks_per_group) groups_.emplace_back(blocks);
}

bool KvBlocks::Grow(Sequence& sequence, int64_t positions, std::vector<BlockUpdate>& updates) {
  const int64_t needed = BlocksFor(positions);
  sequence.blocks.resize(groups_.size());
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (needed - static_cast<int64_t>(sequence.blocks[g].size()) > groups_[g].free()) return false;
  }
  for (size_t g = 0; g < groups_.size(); ++g) {
    std::vector<int32_t>& held = sequence.blocks[g];
    while (static_cast<int64_t>(held.size()) < needed) {
      held.push_back(groups_[g].Take());
      updates.push_back({static_cast<uint32_t>(sequence.slot), static_cast<uint32_t>(g),
                         static_cast<uint32_t>(held.size() - 1), held.back()});
    }
  }
  return true;
}

void KvBlocks::Share(Sequence& sequence, const Sequence& from, int64_t positions,
                     std::vector<BlockUpdate>& updates) {
  sequence.blocks.resize(groups_.size());
  for (size_t g = 0; g < groups_.size(); ++g) {
    std::vector<int32_t>& held = sequence.blocks[g];
    held.assign(from.blocks[g].begin(), from.blocks[g].begin() + BlocksFor(positions));
    for (size_t i = 0; i < held.size(); ++i) {
      groups_[g].Share(held[i]);
      updates.push_back({static_cast<uint32_t>(sequence.slot), static_cast<uint32_t>(g),
                         static_cast<uint32_t>(i), held[i]});
    }
  }
}

bool KvBlocks::Fits(int64_t positions, int64_t shared, int64_t spare) const {
  const int64_t needed = BlocksFor(positions) - BlocksFor(shared) + spare;
  return std::all_of(groups_.begin(), groups_.end(),
                     [needed](const BlockAllocator& group) { return needed <= group.free(); });
}

void KvBlocks::Release(Sequence& sequence) {
  for (size_t g = 0; g < sequence.blocks.size(); ++g) {
    for (const int32_t block : sequence.blocks[g]) groups_[g].Give(block);
  }
  sequence.blocks.clear();
}

const BlockAllocator& KvBlocks::fullest() const {
  return *std::max_element(groups_.begin(), groups_.end(),
                           [](const BlockAllocator& a, const BlockAllocator& b) {
                             return int64_t{a.used()} * b.total() < int64_t{b.used()} * a.total();
                           });
}

uint64_t KvBlocks::used() const { return groups_.empty() ? 0 : fullest().used(); }
uint64_t KvBlocks::total() const { return groups_.empty() ? 0 : fullest().total(); }

}  // namespace shardline
