#include "shared/ipc/channel.h"

#include <unistd.h>

#include <utility>

#include "shared/base/process.h"

namespace shardline {

Channel::Channel(Segment segment, Side side, std::chrono::nanoseconds spin)
    : segment_(std::move(segment)),
      side_(side),
      spin_(spin),
      writer_(segment_.ring(side), segment_.ring_data(side), segment_.epoch()),
      reader_(segment_.ring(Other(side)), segment_.ring_data(Other(side)), segment_.epoch()),
      watch_(segment_.side(side), segment_.side(Other(side)),
             Cat("channel: the ", Name(side), "'s side")) {}

absl::StatusOr<std::unique_ptr<Channel>> Channel::Create(const ChannelOptions& options,
                                                         uint64_t epoch) {
  SL_ASSIGN_OR_RETURN(Segment segment, Segment::Create(options.ring_bytes, epoch));
  std::unique_ptr<Channel> channel(new Channel(std::move(segment), Side::kGateway, options.spin));
  SL_RETURN_IF_ERROR(channel->Open());
  return channel;
}

absl::StatusOr<std::unique_ptr<Channel>> Channel::Attach(int fd, uint64_t epoch,
                                                         std::chrono::nanoseconds spin) {
  SL_ASSIGN_OR_RETURN(Segment segment, Segment::Map(fd, epoch));
  // The pid alone could by now be another process's: its start time must fit too.
  const absl::StatusOr<int> pidfd = OpenPidfd(segment.owner_pid());
  if (!pidfd.ok() && !absl::IsUnimplemented(pidfd.status())) {
    return Unavailable("the gateway is gone");
  }
  std::unique_ptr<Channel> channel(new Channel(std::move(segment), Side::kWorker, spin));
  channel->watch_.WatchPidfd(pidfd.value_or(-1));
  const absl::StatusOr<uint64_t> start = StartTicks(channel->segment_.owner_pid());
  if (!start.ok() || *start != channel->segment_.owner_start_ticks()) {
    return Unavailable("the gateway is gone");
  }
  SL_RETURN_IF_ERROR(channel->Open());
  return channel;
}

absl::Status Channel::Open() {
  SL_RETURN_IF_ERROR(watch_.Start([this](PeerEnd end) { PeerGone(end); }));
  open_ = true;
  return absl::OkStatus();
}

Channel::~Channel() {
  Close();
  watch_.Stop();
}

absl::Status Channel::SendBytes(MessageKind kind, std::span<const std::byte> payload,
                                std::chrono::nanoseconds timeout) {
  const auto deadline = DeadlineAfter(timeout);
  SL_RETURN_IF_ERROR(TakeTurn(deadline));
  absl::Status status = Write(kind, payload, deadline);
  EndTurn();
  return status;
}

absl::Status Channel::TakeTurn(Clock::time_point deadline) {
  std::unique_lock lock(turn_mutex_);
  if (!turn_ended_.wait_until(lock, deadline, [&] { return !sending_; })) {
    return DeadlineExceeded("other senders held the channel too long");
  }
  sending_ = true;
  return absl::OkStatus();
}

void Channel::EndTurn() {
  {
    std::lock_guard lock(turn_mutex_);
    sending_ = false;
  }
  turn_ended_.notify_one();
}

absl::Status Channel::Write(MessageKind kind, std::span<const std::byte> payload,
                            Clock::time_point deadline) {
  RingControl& ring = segment_.ring(side_);
  for (;;) {
    if (Ended()) return EndedStatus();
    SL_ASSIGN_OR_RETURN(const bool written, writer_.TryWrite(static_cast<uint16_t>(kind), payload));
    if (written) {
      Ring(ring.data);
      return absl::OkStatus();
    }
    const auto ready = [&] { return writer_.CanWrite(payload.size()) || Ended(); };
    if (!Await(ring.space, deadline, spin_, ready)) {
      return DeadlineExceeded("the ", Name(Other(side_)), " did not read its messages in time");
    }
  }
}

absl::StatusOr<std::optional<Received>> Channel::Receive(std::chrono::nanoseconds timeout) {
  RingControl& ring = segment_.ring(Other(side_));
  const auto deadline = DeadlineAfter(timeout);
  for (;;) {
    if (closed_.load()) return EndedStatus();
    const bool ended = Ended();  // before the look: what was sent before the end is delivered
    SL_ASSIGN_OR_RETURN(const std::optional<uint16_t> kind, reader_.TryRead(payload_));
    if (kind) {
      Ring(ring.space);
      return Received{static_cast<MessageKind>(*kind), payload_};
    }
    if (ended) return EndedStatus();
    const auto ready = [&] { return reader_.CanRead() || Ended(); };
    if (!Await(ring.data, deadline, spin_, ready)) return std::nullopt;
  }
}

bool Channel::Ended() const {
  return closed_.load() || peer_end_.load() != PeerEnd::kAlive ||
         segment_.side_state(Other(side_)) == SideState::kClosed;
}

absl::Status Channel::EndedStatus() const {
  if (closed_.load()) return Unavailable("the channel is closed");
  return peer_status();
}

absl::Status Channel::peer_status() const {
  if (segment_.side_state(Other(side_)) == SideState::kClosed) {
    return Unavailable("the ", Name(Other(side_)), " closed the channel");
  }
  switch (peer_end_.load()) {
    case PeerEnd::kAlive:
      return absl::OkStatus();
    case PeerEnd::kClosed:
      return Unavailable("the ", Name(Other(side_)), " closed the channel");
    case PeerEnd::kDied:
      break;
  }
  return Unavailable("the ", Name(Other(side_)), " died");
}

void Channel::Close() {
  if (!open_ || closed_.exchange(true)) return;
  std::atomic<uint32_t>& state = segment_.side(side_).state;
  state.store(static_cast<uint32_t>(SideState::kClosed), std::memory_order_seq_cst);
  FutexWakeAll(state);
  WakeAll();
  watch_.Release();
}

void Channel::WakeAll() {
  for (Side writer : {Side::kGateway, Side::kWorker}) {
    RingAlways(segment_.ring(writer).data);
    RingAlways(segment_.ring(writer).space);
  }
}

absl::Status Channel::WatchProcess(pid_t pid) {
  const absl::StatusOr<int> pidfd = OpenPidfd(pid);
  if (absl::IsUnimplemented(pidfd.status())) return absl::OkStatus();  // one sign less
  SL_RETURN_IF_ERROR(pidfd.status());
  watch_.WatchPidfd(*pidfd);
  return absl::OkStatus();
}

void Channel::PeerGone(PeerEnd end) {
  std::function<void(const absl::Status&)> callback;
  {
    std::lock_guard lock(callback_mutex_);
    peer_end_.store(end);
    callback = std::move(callback_);
    callback_ = nullptr;
  }
  WakeAll();
  // After our own Close the peer's end is no news: it is most likely the peer's answer to it.
  if (callback && !closed_.load()) callback(peer_status());
}

void Channel::OnPeerGone(std::function<void(const absl::Status&)> callback) {
  {
    std::lock_guard lock(callback_mutex_);
    if (peer_end_.load() == PeerEnd::kAlive) {
      callback_ = std::move(callback);
      return;
    }
  }
  callback(peer_status());
}

}  // namespace shardline
