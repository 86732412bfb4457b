// The gateway's end of one worker's channel: sends the router's messages without ever blocking it,
// and hands what the worker says to whoever runs Receive (the supervisor's thread).
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <variant>

#include "gateway/router.h"
#include "shared/ipc/channel.h"

namespace shardline {

class WorkerLink : public WorkerPort {
 public:
  explicit WorkerLink(std::unique_ptr<Channel> channel) : channel_(std::move(channel)) {}

  Channel& channel() { return *channel_; }

  // What finds no room in the ring waits here, in order, for the next Flush. A worker that lets
  // more than kMaxWaiting messages wait does not read: the channel is closed.
  static constexpr size_t kMaxWaiting = 65536;
  void Send(const Submit& message) override;
  void Send(const Cancel& message) override;
  void Send(const Pause& message) override;
  void Send(const Resume& message) override;

  // Channel::Receive, having sent what waits. While something waits it looks again every few
  // milliseconds.
  absl::StatusOr<std::optional<Received>> Receive(std::chrono::nanoseconds timeout);

 private:
  using Outgoing = std::variant<Submit, shardline::Cancel, Pause, Resume>;
  template <typename T>
  void Enqueue(const T& message);
  bool Flush();  // false: something still waits

  const std::unique_ptr<Channel> channel_;
  std::mutex mutex_;  // taken under the router's lock; a leaf
  std::deque<Outgoing> waiting_;
  std::atomic<bool> any_waiting_{false};
};

}  // namespace shardline
