#include "shared/ipc/life_sign.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "shared/ipc/doorbell.h"

namespace shardline {

LifeSign::LifeSign(std::atomic<uint32_t>& word) : word_(word) {
  entry_.next = &list_.list;  // a list of one
  list_.list.next = &entry_;
  list_.futex_offset = reinterpret_cast<char*>(&word_) - reinterpret_cast<char*>(&entry_);
  syscall(SYS_get_robust_list, 0, &previous_, &previous_bytes_);
  if (syscall(SYS_set_robust_list, &list_, sizeof(list_)) != 0) return;
  uint32_t free = 0;
  held_ = word_.compare_exchange_strong(free, static_cast<uint32_t>(syscall(SYS_gettid)));
}

LifeSign::~LifeSign() {
  if (held_) {
    word_.store(0);
    FutexWakeAll(word_);
  }
  syscall(SYS_set_robust_list, previous_, previous_bytes_);
}

LifeState AwaitEnd(std::atomic<uint32_t>& word, Clock::time_point deadline) {
  const auto state_of = [](uint32_t value) {
    if (value & FUTEX_OWNER_DIED) return LifeState::kOwnerDied;
    return (value & FUTEX_TID_MASK) == 0 ? LifeState::kReleased : LifeState::kHeld;
  };
  uint32_t value = word.load();
  if (state_of(value) != LifeState::kHeld) return state_of(value);
  // The kernel wakes nobody unless the word says that someone waits.
  if (!word.compare_exchange_strong(value, value | FUTEX_WAITERS)) return state_of(value);
  FutexWait(word, value | FUTEX_WAITERS, deadline);
  return state_of(word.load());
}

}  // namespace shardline
