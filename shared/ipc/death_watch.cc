#include "shared/ipc/death_watch.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <future>
#include <utility>

#include "shared/base/process.h"

namespace shardline {
namespace {

// How long one wait lasts before the other signs are looked at.
constexpr auto kSlice = std::chrono::milliseconds(50);

// The mutex within one slice: 0 or EOWNERDEAD once it is ours, ETIMEDOUT, or another errno.
int LockFor(pthread_mutex_t& mutex, std::chrono::nanoseconds limit) {
  timespec at{};
  clock_gettime(CLOCK_MONOTONIC, &at);
  const int64_t ns = at.tv_nsec + limit.count();
  at.tv_sec += ns / 1000000000;
  at.tv_nsec = ns % 1000000000;
  return pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &at);
}

}  // namespace

absl::Status DeathWatch::Start(std::function<void(PeerEnd)> on_end) {
  on_end_ = std::move(on_end);
  std::promise<int> held;
  std::future<int> error = held.get_future();
  thread_ = std::thread([this, held = std::move(held)]() mutable {
    const int lock_error = HoldOwn();
    held.set_value(lock_error);
    if (lock_error != 0) return;
    const PeerEnd end = Watch();
    if (end != PeerEnd::kAlive) on_end_(end);
    // Held on, so that the peer sees this side alive until it closes.
    while (!stopping_.load()) stopping_.wait(false);
    pthread_mutex_unlock(&segment_.side(self_).alive);
  });
  if (const int code = error.get(); code != 0) {
    thread_.join();
    return FailedPrecondition("channel: the ", Name(self_), "'s side is taken: ", strerror(code));
  }
  return absl::OkStatus();
}

int DeathWatch::HoldOwn() {
  SideControl& own = segment_.side(self_);
  const int error = LockFor(own.alive, kSlice);
  if (error != 0) return error;
  // Attached only once the mutex is held: from here on the peer blocks on it.
  uint32_t absent = static_cast<uint32_t>(SideState::kAbsent);
  if (!own.state.compare_exchange_strong(absent, static_cast<uint32_t>(SideState::kAttached))) {
    pthread_mutex_unlock(&own.alive);
    return EBUSY;
  }
  FutexWakeAll(own.state);
  return 0;
}

bool DeathWatch::PidfdReadable() const {
  const int pidfd = pidfd_.load();
  return pidfd >= 0 && ProcessEnded(pidfd, std::chrono::nanoseconds(0));
}

PeerEnd DeathWatch::EndOfPeer() const {
  return segment_.side_state(Other(self_)) == SideState::kClosed ? PeerEnd::kClosed
                                                                 : PeerEnd::kDied;
}

PeerEnd DeathWatch::Watch() {
  SideControl& peer = segment_.side(Other(self_));
  while (!stopping_.load()) {
    if (peer.state.load() == static_cast<uint32_t>(SideState::kAbsent)) {
      if (PidfdReadable()) return EndOfPeer();
      FutexWait(peer.state, static_cast<uint32_t>(SideState::kAbsent), DeadlineAfter(kSlice));
      continue;
    }
    const int error = LockFor(peer.alive, kSlice);
    if (error == ETIMEDOUT) {
      if (PidfdReadable()) return EndOfPeer();
      continue;
    }
    if (error == 0 || error == EOWNERDEAD) pthread_mutex_unlock(&peer.alive);
    return EndOfPeer();
  }
  return PeerEnd::kAlive;
}

void DeathWatch::WatchPidfd(int pidfd) { pidfd_.store(pidfd); }

void DeathWatch::Release() {
  stopping_.store(true);
  stopping_.notify_all();
  FutexWakeAll(segment_.side(Other(self_)).state);
}

void DeathWatch::Stop() {
  if (thread_.joinable()) {
    Release();
    thread_.join();
  }
  if (const int pidfd = pidfd_.exchange(-1); pidfd >= 0) close(pidfd);
}

}  // namespace shardline
