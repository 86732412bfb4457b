// Notices at once when another process ends. Each side runs one thread that keeps its own life
// sign up in shared memory and waits for the end of the peer's. The kernel ends a dead thread's
// life sign before it tears down the process's memory, so the news takes about 0.1 ms however large
// the process was; a pidfd is the second sign, and the only one before the peer has attached.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <utility>

#include "shared/base/status.h"
#include "shared/ipc/segment.h"

namespace shardline {

enum class PeerEnd { kAlive, kClosed, kDied };

class DeathWatch {
 public:
  // Both words outlive the watch. `name` says in an error whose side `own` is.
  DeathWatch(SideControl& own, SideControl& peer, std::string name)
      : own_(own), peer_(peer), name_(std::move(name)) {}
  ~DeathWatch() { Stop(); }

  // Starts the thread; returns once it holds this side's life sign. `on_end` is called once, from
  // that thread, unless Stop comes first. Errors: FailedPrecondition (the side is taken).
  absl::Status Start(std::function<void(PeerEnd)> on_end);
  // Takes the descriptor over; at most once.
  void WatchPidfd(int pidfd);
  // This side is ending: the thread takes its life sign down, at most a time slice later, and
  // `on_end` is not called any more unless it is being called. Returns at once.
  void Release();
  // Release, and waits for the thread. Not from `on_end`.
  void Stop();

 private:
  void Run(std::promise<bool> taken);
  PeerEnd Watch();
  PeerEnd EndOfPeer() const;
  bool PidfdReadable() const;

  SideControl& own_;
  SideControl& peer_;
  const std::string name_;
  std::function<void(PeerEnd)> on_end_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> pidfd_{-1};
  std::thread thread_;
};

}  // namespace shardline
