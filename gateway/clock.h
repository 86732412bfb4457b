// CLOCK_MONOTONIC in nanoseconds: the clock of deadlines and timings, the worker's too.
#pragma once

#include <chrono>
#include <cstdint>

namespace shardline {

inline uint64_t NowNs() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

inline double Seconds(uint64_t from_ns, uint64_t to_ns) {
  return to_ns > from_ns ? static_cast<double>(to_ns - from_ns) * 1e-9 : 0.0;
}

}  // namespace shardline
