// Notices at once when the other process ends. Each side runs one thread that holds its own robust
// mutex in the segment for life and blocks on the peer's. The kernel releases a dead process's
// robust mutexes before it tears down its memory, so the news takes about 0.1 ms however large the
// process was; a pidfd is the second sign, and the only one before the peer has attached.
#pragma once

#include <atomic>
#include <functional>
#include <thread>

#include "shared/base/status.h"
#include "shared/ipc/segment.h"

namespace shardline {

enum class PeerEnd { kAlive, kClosed, kDied };

class DeathWatch {
 public:
  // `segment` outlives the watch.
  DeathWatch(const Segment& segment, Side self) : segment_(segment), self_(self) {}
  ~DeathWatch() { Stop(); }

  // Starts the thread; returns once it holds this side's mutex. `on_end` is called once, from that
  // thread, unless Stop comes first.
  absl::Status Start(std::function<void(PeerEnd)> on_end);
  // Takes the descriptor over; at most once.
  void WatchPidfd(int pidfd);
  // This side is ending: the thread releases its mutex, at most a time slice later, and `on_end` is
  // not called any more unless it is being called. Returns at once.
  void Release();
  // Release, and waits for the thread. Not from `on_end`.
  void Stop();

 private:
  int HoldOwn();
  PeerEnd Watch();
  PeerEnd EndOfPeer() const;
  bool PidfdReadable() const;

  const Segment& segment_;
  const Side self_;
  std::function<void(PeerEnd)> on_end_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> pidfd_{-1};
  std::thread thread_;
};

}  // namespace shardline
