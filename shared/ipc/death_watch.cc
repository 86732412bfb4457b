#include "shared/ipc/death_watch.h"

#include <unistd.h>

#include <utility>

#include "shared/base/process.h"
#include "shared/ipc/life_sign.h"

namespace shardline {
namespace {

// How long one wait lasts before the other signs are looked at.
constexpr auto kSlice = std::chrono::milliseconds(50);

}  // namespace

absl::Status DeathWatch::Start(std::function<void(PeerEnd)> on_end) {
  on_end_ = std::move(on_end);
  std::promise<bool> taken;
  std::future<bool> is_taken = taken.get_future();
  thread_ = std::thread([this, taken = std::move(taken)]() mutable { Run(std::move(taken)); });
  if (!is_taken.get()) {
    thread_.join();
    return FailedPrecondition(name_, " is taken");
  }
  return absl::OkStatus();
}

void DeathWatch::Run(std::promise<bool> taken) {
  LifeSign sign(own_.alive);
  uint32_t absent = static_cast<uint32_t>(SideState::kAbsent);
  // Attached only once the sign is there: from here on the peer waits for its end.
  const bool ours = sign.held() && own_.state.compare_exchange_strong(
                                       absent, static_cast<uint32_t>(SideState::kAttached));
  if (ours) FutexWakeAll(own_.state);
  taken.set_value(ours);
  if (!ours) return;
  const PeerEnd end = Watch();
  if (end != PeerEnd::kAlive) on_end_(end);
  // The sign stays up, so that the peer sees this side alive until it closes.
  while (!stopping_.load()) stopping_.wait(false);
}

bool DeathWatch::PidfdReadable() const {
  const int pidfd = pidfd_.load();
  return pidfd >= 0 && ProcessEnded(pidfd, std::chrono::nanoseconds(0));
}

PeerEnd DeathWatch::EndOfPeer() const {
  const uint32_t closed = static_cast<uint32_t>(SideState::kClosed);
  return peer_.state.load() == closed ? PeerEnd::kClosed : PeerEnd::kDied;
}

PeerEnd DeathWatch::Watch() {
  while (!stopping_.load()) {
    if (peer_.state.load() == static_cast<uint32_t>(SideState::kAbsent)) {
      if (PidfdReadable()) return EndOfPeer();
      FutexWait(peer_.state, static_cast<uint32_t>(SideState::kAbsent), DeadlineAfter(kSlice));
      continue;
    }
    if (AwaitEnd(peer_.alive, DeadlineAfter(kSlice)) != LifeState::kHeld || PidfdReadable()) {
      return EndOfPeer();
    }
  }
  return PeerEnd::kAlive;
}

void DeathWatch::WatchPidfd(int pidfd) { pidfd_.store(pidfd); }

void DeathWatch::Release() {
  stopping_.store(true);
  stopping_.notify_all();
  FutexWakeAll(peer_.state);
  FutexWakeAll(peer_.alive);
}

void DeathWatch::Stop() {
  if (thread_.joinable()) {
    Release();
    thread_.join();
  }
  if (const int pidfd = pidfd_.exchange(-1); pidfd >= 0) close(pidfd);
}

}  // namespace shardline
