// Which blocks of one state group are free, and how many sequences hold each of the others. Rank
// 0's scheduler asks here and writes the answer into the step plan.
#pragma once

#include <cstdint>
#include <vector>

namespace shardline {

class BlockAllocator {
 public:
  explicit BlockAllocator(int32_t total);

  int32_t total() const { return static_cast<int32_t>(holders_.size()); }
  int32_t free() const { return static_cast<int32_t>(free_.size()); }
  int32_t used() const { return total() - free(); }

  // A free block; the caller has seen that there is one.
  int32_t Take();
  // One more holder of a block that is taken.
  void Share(int32_t block);
  // One holder less; with the last one the block is free.
  void Give(int32_t block);

 private:
  std::vector<int32_t> free_;     // the last one goes first
  std::vector<int32_t> holders_;  // by block
};

}  // namespace shardline
