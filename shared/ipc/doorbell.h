// Wake-ups between processes: a futex word and a flag that tells whether anyone sleeps.
//
// The waiter announces itself, looks again, and only then sleeps; the ringer publishes first and
// then looks for a sleeper. Both use sequentially consistent accesses (also for what `ready` looks
// at), so at least one of them sees the other and no wake-up is lost. Nobody pays a system call
// while the waiter is awake. The words are shared: a peer may write anything there, which can delay
// a wait but not break it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "shared/base/clock.h"

namespace shardline {

struct Doorbell {
  std::atomic<uint32_t> sequence;  // the futex word
  std::atomic<uint32_t> waiting;   // 1: someone sleeps, or is about to
};
static_assert(std::atomic<uint32_t>::is_always_lock_free && sizeof(std::atomic<uint32_t>) == 4);

// Wakes the waiter if there is one; after what it waits for was published.
void Ring(Doorbell& bell);
// Wakes everyone, whatever the flag says: for the end of a channel.
void RingAlways(Doorbell& bell);

// Sleeps while the word is `value`, until the deadline and a second at most; wakes early at will.
void FutexWait(std::atomic<uint32_t>& word, uint32_t value, Clock::time_point deadline);
void FutexWakeAll(std::atomic<uint32_t>& word);

inline void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until ready() or the deadline; true if ready. Looks for `spin` before it first sleeps.
template <typename Ready>
bool Await(Doorbell& bell, Clock::time_point deadline, std::chrono::nanoseconds spin, Ready ready) {
  if (ready()) return true;
  const auto start = Clock::now();
  const auto spin_end = spin < deadline - start ? start + spin : deadline;
  while (Clock::now() < spin_end) {
    for (int i = 0; i < 16; ++i) {
      if (ready()) return true;
      CpuRelax();
    }
  }
  for (;;) {
    bell.waiting.store(1, std::memory_order_seq_cst);
    const uint32_t ticket = bell.sequence.load(std::memory_order_seq_cst);
    const bool done = ready();
    if (!done && Clock::now() < deadline) FutexWait(bell.sequence, ticket, deadline);
    bell.waiting.store(0, std::memory_order_seq_cst);
    if (done || ready()) return true;
    if (Clock::now() >= deadline) return false;
  }
}

}  // namespace shardline
