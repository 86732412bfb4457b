#include "shared/ipc/doorbell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <ctime>

namespace shardline {
namespace {

// Without FUTEX_PRIVATE_FLAG: the word is shared between processes.
long Futex(std::atomic<uint32_t>& word, int operation, uint32_t value, const timespec* timeout) {
  return syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), operation, value, timeout, nullptr,
                 0);
}

}  // namespace

void Ring(Doorbell& bell) {
  if (bell.waiting.load(std::memory_order_seq_cst) != 0) RingAlways(bell);
}

void RingAlways(Doorbell& bell) {
  bell.sequence.fetch_add(1, std::memory_order_seq_cst);
  FutexWakeAll(bell.sequence);
}

void FutexWait(std::atomic<uint32_t>& word, uint32_t value, Clock::time_point deadline) {
  // Bounded, so that a peer that spoils the words cannot delay us for long.
  const auto left = std::min<Clock::duration>(deadline - Clock::now(), std::chrono::seconds(1));
  if (left <= Clock::duration::zero()) return;
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
  const timespec relative{static_cast<time_t>(ns / 1000000000), static_cast<long>(ns % 1000000000)};
  Futex(word, FUTEX_WAIT, value, &relative);
}

void FutexWakeAll(std::atomic<uint32_t>& word) { Futex(word, FUTEX_WAKE, INT_MAX, nullptr); }

}  // namespace shardline
