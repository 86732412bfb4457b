// The channel between gateway and worker: two byte rings in one shared-memory segment, woken by
// futex. The gateway creates it and hands its descriptor to the worker, which attaches. One channel
// lives as long as one worker process: after a death it is thrown away, never repaired.
//
//   gateway: Channel::Create → Process::Spawn({… descriptors = {channel->fd()}}) →
//   WatchProcess(pid) worker:  DieWithParent → Channel::Attach(3, epoch)
//
// Threads: Send, Close and the status calls from any thread, Receive from one thread at a time.
// Every wait ends at its time limit, at once when this side closes, and within about a millisecond
// when the peer closes or dies. Records that a peer committed before its end are still delivered.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "shared/base/clock.h"
#include "shared/base/status.h"
#include "shared/ipc/death_watch.h"
#include "shared/ipc/message.h"
#include "shared/ipc/ring.h"
#include "shared/ipc/segment.h"

namespace shardline {

struct ChannelOptions {
  uint64_t ring_bytes = uint64_t{16} << 20;  // each way; a power of two from 4 KiB to 1 GiB
  std::chrono::nanoseconds spin{4000};       // looks this long before it sleeps
};

// One received record; `payload` is private memory, valid until the next Receive.
struct Received {
  MessageKind kind;
  std::span<const std::byte> payload;

  // Errors: InvalidArgument if the payload is no T, or the record is of another kind.
  template <typename T>
  absl::StatusOr<T> As() const {
    if (kind != KindOf<T>()) return InvalidArgument("record of another kind than asked for");
    return Decode<T>(payload);
  }
};

class Channel {
 public:
  // The gateway's end. `epoch`: never the same for two workers of one gateway, not 0.
  // Errors: ResourceExhausted (no memory for the rings), InvalidArgument (options).
  static absl::StatusOr<std::unique_ptr<Channel>> Create(const ChannelOptions& options,
                                                         uint64_t epoch);
  // The worker's end; takes the descriptor over. Errors: InvalidArgument (no segment of this
  // version and epoch), Unavailable (the gateway is gone).
  static absl::StatusOr<std::unique_ptr<Channel>> Attach(
      int fd, uint64_t epoch, std::chrono::nanoseconds spin = ChannelOptions().spin);
  ~Channel();

  int fd() const { return segment_.fd(); }  // for the child; close-on-exec
  uint64_t epoch() const { return segment_.epoch(); }

  // Writes one message; waits for room. Errors: DeadlineExceeded (ring full for `timeout`),
  // Unavailable (closed, or the peer is gone), ResourceExhausted (larger than kMaxMessageBytes or
  // the ring), DataLoss (the peer wrote nonsense into the shared words; stays so).
  template <typename T>
  absl::Status Send(const T& message, std::chrono::nanoseconds timeout) {
    const auto deadline = DeadlineAfter(timeout);
    SL_RETURN_IF_ERROR(TakeTurn(deadline));
    Encode(message, encoded_);
    absl::Status status = Write(KindOf<T>(), encoded_, deadline);
    EndTurn();
    return status;
  }
  absl::Status SendBytes(MessageKind kind, std::span<const std::byte> payload,
                         std::chrono::nanoseconds timeout);

  // The next record, or nullopt after `timeout` (0: only looks). Errors: Unavailable (closed, or
  // the peer is gone and everything it sent has been read), DataLoss (corrupted; stays so).
  absl::StatusOr<std::optional<Received>> Receive(std::chrono::nanoseconds timeout);

  // Ends the channel for both sides: waits here and there return Unavailable. May be called twice.
  void Close();

  // Gateway: a second sign of the worker's death, and the only one until it has attached.
  absl::Status WatchProcess(pid_t pid);

  // Called once, from a thread of the channel, when the peer closes or dies (at once if it already
  // has), but not after this side has closed. It must not destroy the channel. Set it once.
  void OnPeerGone(std::function<void(const absl::Status&)> callback);
  // OK while the peer lives; otherwise Unavailable saying how it ended.
  absl::Status peer_status() const;
  // Whether the peer has attached (the gateway's question).
  bool peer_attached() const { return segment_.side_state(Other(side_)) != SideState::kAbsent; }

 private:
  Channel(Segment segment, Side side, std::chrono::nanoseconds spin);
  absl::Status Open();  // takes this side
  // Senders take turns; a wait for room is part of a turn, so waiting for one has a limit as well.
  absl::Status TakeTurn(Clock::time_point deadline);
  void EndTurn();
  absl::Status Write(MessageKind kind, std::span<const std::byte> payload,
                     Clock::time_point deadline);
  bool Ended() const;  // either side is closed or dead
  absl::Status EndedStatus() const;
  void PeerGone(PeerEnd end);
  void WakeAll();

  Segment segment_;
  const Side side_;
  const std::chrono::nanoseconds spin_;
  bool open_ = false;  // this side is ours to close
  std::atomic<bool> closed_{false};
  std::atomic<PeerEnd> peer_end_{PeerEnd::kAlive};

  std::mutex turn_mutex_;
  std::condition_variable turn_ended_;
  bool sending_ = false;  // a sender has its turn; the next two are its
  std::vector<std::byte> encoded_;
  RingWriter writer_;

  RingReader reader_;  // the receiving thread's
  std::vector<std::byte> payload_;

  std::mutex callback_mutex_;
  std::function<void(const absl::Status&)> callback_;

  DeathWatch watch_;  // last: its thread uses all the rest
};

}  // namespace shardline
