// A table of operations that computes nothing and counts what computing would take: run under it, a
// decoder tells its own costs. Weights and state need no memory, only the activations' arena.
#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace shardline {

// Of one rank. Products and sums count as one FLOP each; element-wise operations are left out.
struct Work {
  double flops = 0;
  uint64_t weight_bytes = 0;  // read, once for each product that needs them
  uint64_t state_bytes = 0;   // keys and values read; recurrent states read and written

  uint64_t bytes() const { return weight_bytes + state_bytes; }
};

// Sizes (of packed weights, of scratch memory) are those of the CPU's table. Tokens choose experts
// in turn, so that all experts are chosen equally often. Its operations are for a thread that has a
// WorkCount.
const Ops& DryOps();

// While it lives, this thread's DryOps add to `work`.
class WorkCount {
 public:
  explicit WorkCount(Work& work);
  ~WorkCount();
  WorkCount(const WorkCount&) = delete;
  WorkCount& operator=(const WorkCount&) = delete;
};

}  // namespace shardline
