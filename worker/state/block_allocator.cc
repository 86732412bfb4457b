#include "worker/state/block_allocator.h"

#include <cstdio>
#include <cstdlib>

namespace shardline {
namespace {

// A programmer's error: no request reaches this.
void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "block allocator: %s\n", what);
  std::abort();
}

}  // namespace

BlockAllocator::BlockAllocator(int32_t total) : holders_(total, 0) {
  free_.reserve(total);
  for (int32_t block = total; block-- > 0;) free_.push_back(block);
}

int32_t BlockAllocator::Take() {
  Check(!free_.empty(), "no block is free");
  const int32_t block = free_.back();
  free_.pop_back();
  holders_[block] = 1;
  return block;
}

void BlockAllocator::Share(int32_t block) {
  Check(block >= 0 && block < total() && holders_[block] > 0, "a free block is shared");
  ++holders_[block];
}

void BlockAllocator::Give(int32_t block) {
  Check(block >= 0 && block < total() && holders_[block] > 0,
        "a block is given back that was not taken");
  if (--holders_[block] == 0) free_.push_back(block);
}

}  // namespace shardline
