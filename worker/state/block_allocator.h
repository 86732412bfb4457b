// Which blocks of one state group are free. Rank 0's scheduler asks here and writes the answer into
// the step plan.
#pragma once

#include <cstdint>
#include <vector>

namespace shardline {

class BlockAllocator {
 public:
  explicit BlockAllocator(int32_t total);

  int32_t total() const { return static_cast<int32_t>(taken_.size()); }
  int32_t free() const { return static_cast<int32_t>(free_.size()); }
  int32_t used() const { return total() - free(); }

  // A free block; the caller has seen that there is one.
  int32_t Take();
  // Blocks that Take gave, each once.
  void Give(int32_t block);

 private:
  std::vector<int32_t> free_;  // the last one goes first
  std::vector<bool> taken_;
};

}  // namespace shardline
