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
    return FailedPrecondition("channel: the ", Name(self_), "'s side is taken");
  }
  return absl::OkStatus();
}

void DeathWatch::Run(std::promise<bool> taken) {
  SideControl& own = segment_.side(self_);
  LifeSign sign(own.alive);
  uint32_t absent = static_cast<uint32_t>(SideState::kAbsent);
  // Attached only once the sign is there: from here on the peer waits for its end.
  const bool ours = sign.held() && own.state.compare_exchange_strong(
                                       absent, static_cast<uint32_t>(SideState::kAttached));
  if (ours) FutexWakeAll(own.state);
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
    if (AwaitEnd(peer.alive, DeadlineAfter(kSlice)) != LifeState::kHeld || PidfdReadable()) {
      return EndOfPeer();
    }
  }
  return PeerEnd::kAlive;
}

void DeathWatch::WatchPidfd(int pidfd) { pidfd_.store(pidfd); }

void DeathWatch::Release() {
  stopping_.store(true);
  stopping_.notify_all();
  FutexWakeAll(segment_.side(Other(self_)).state);
  FutexWakeAll(segment_.side(Other(self_)).alive);
}

void DeathWatch::Stop() {
  if (thread_.joinable()) {
    Release();
    thread_.join();
  }
  if (const int pidfd = pidfd_.exchange(-1); pidfd >= 0) close(pidfd);
}

}  // namespace shardline
