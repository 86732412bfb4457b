// One clock for deadlines and durations: CLOCK_MONOTONIC, which both processes read alike.
#pragma once

#include <chrono>
#include <cstdint>

namespace shardline {

using Clock = std::chrono::steady_clock;

// Nanoseconds of CLOCK_MONOTONIC; comparable between processes of one machine.
inline uint64_t MonotonicNanoseconds() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
          .count());
}

// The moment `timeout` from now; a timeout too long to represent means as late as possible.
inline Clock::time_point DeadlineAfter(std::chrono::nanoseconds timeout) {
  const auto now = Clock::now();
  return timeout > Clock::time_point::max() - now ? Clock::time_point::max() : now + timeout;
}

// Seconds from `start` to now.
inline double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace shardline
