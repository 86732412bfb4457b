// A 32-bit word in shared memory that tells whether a thread lives. The thread puts its id there
// and registers the word in its robust list; when it ends in whatever way, the kernel marks the
// word and wakes a waiter, before it tears down the process's memory.
//
// This is what a robust mutex does inside. A pthread mutex is not used because glibc keeps the
// links of the robust list in the mutex itself: there a peer could send this process's writes
// anywhere. Here the list is in private memory and the shared word is only ever compared. Source:
// Linux, Documentation/locking/robust-futex-ABI.rst.
#pragma once

#include <linux/futex.h>

#include <atomic>
#include <cstdint>

#include "shared/base/clock.h"

namespace shardline {

// Held by the thread that makes it, which also destroys it (and so gives the sign up in an orderly
// way). The word outlives it.
class LifeSign {
 public:
  explicit LifeSign(std::atomic<uint32_t>& word);
  ~LifeSign();
  LifeSign(const LifeSign&) = delete;
  LifeSign& operator=(const LifeSign&) = delete;

  bool held() const { return held_; }  // false: someone else holds the word, or held it and died

 private:
  std::atomic<uint32_t>& word_;
  bool held_ = false;
  robust_list entry_{};
  robust_list_head list_{};
  void* previous_ = nullptr;  // the list that the C library gave the thread
  size_t previous_bytes_ = 0;
};

enum class LifeState { kHeld, kReleased, kOwnerDied };
// Waits until the word is not held any more, until the deadline or a wake-up; tells what it is
// then.
LifeState AwaitEnd(std::atomic<uint32_t>& word, Clock::time_point deadline);

}  // namespace shardline
