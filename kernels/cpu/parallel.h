// Hands the indices of a loop to the threads of an operation, one after another as they become
// free. Which thread runs which index never changes a result.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace shardline {

inline int ThreadsOf(const OpContext& context) {
  return context.threads == nullptr ? 1 : context.threads->size();
}

// Calls body(index, part) once for each index in [0, count); calls of the same part never overlap.
template <typename Body>
void ParallelFor(const OpContext& context, int64_t count, const Body& body) {
  if (count <= 1 || ThreadsOf(context) == 1) {
    for (int64_t i = 0; i < count; ++i) body(i, 0);
    return;
  }
  std::atomic<int64_t> next{0};
  const auto task = [&](int part, int) {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) body(i, part);
  };
  context.threads->Run(std::cref(task));  // a reference: std::function allocates nothing
}

}  // namespace shardline
