// From rows of logits to tokens and log-probabilities, on all threads: rows know nothing of each
// other.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "worker/engine/plan_builder.h"

namespace shardline {

class RowReader {
 public:
  explicit RowReader(ThreadPool* threads);  // null: the calling thread alone

  // logits: [wanted.size(), vocabulary]; one Sample per row, in order. Throws what a row threw.
  std::span<const Sample> Read(std::span<const WantedRow> wanted, float* logits,
                               int64_t vocabulary);

 private:
  ThreadPool* threads_;
  std::vector<SampleScratch> scratch_;  // one per thread
  std::vector<Sample> samples_;
};

}  // namespace shardline
