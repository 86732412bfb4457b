// A group of processes on one or several hosts, over TCP by way of libtorch's gloo.
//
//   every rank: GlooGroup::Connect({.host, .port, .rank, .size, .epoch}); rank 0 listens there
//
// Ranks exchange frames: a header that says which call it belongs to, and up to 1 MiB of data.
// Frames between two ranks arrive in order, and the receiver has room for two at any time, so a
// sender seldom waits. An all-reduce adds in rank order in f32 and rounds once, as ShmGroup does,
// to the same bits: up to one-shot's border every rank gets all parts and adds them, above it each
// adds one slice and hands the sum around.
//
// Besides the frames each rank listens for notes: that a rank leaves, or that the group has ended
// and why. A dead rank's closed connections end the waits for it; a stopped one is noticed at the
// limit. Whoever notices first ends the group for all. The process must ignore SIGPIPE.
#pragma once

#include <array>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/ops.h"
#include "shared/base/clock.h"
#include "worker/parallel/call.h"
#include "worker/parallel/gloo_links.h"
#include "worker/parallel/process_group.h"

namespace shardline {

class GlooGroup final : public ProcessGroup {
 public:
  static constexpr int64_t kPieceBytes = int64_t{1} << 20;  // of a frame's data
  static constexpr int64_t kOneShotBytes =
      256 << 10;  // of three ranks and more; a round costs more here than bytes

  // Waits for all ranks, at most the limit. Errors: InvalidArgument, FailedPrecondition (the rank
  // is taken), DeadlineExceeded naming who is missing, Unavailable; they name --rendezvous.
  static absl::StatusOr<std::unique_ptr<GlooGroup>> Connect(const GlooGroupOptions& options);
  ~GlooGroup() override;

  int rank() const override { return options_.rank; }
  int size() const override { return options_.size; }
  absl::Status AllReduce(const View& data) override;
  absl::Status AllGather(const View& in, const View& out) override;
  absl::Status Broadcast(const View& data, int root) override;
  absl::Status Barrier() override;
  void SetLimit(std::chrono::nanoseconds limit) override;
  void Abort(std::string_view reason) override;
  absl::Status ended() const override { return EndStatus(); }

 private:
  struct Header {
    uint64_t number;  // of the call
    uint64_t what;    // call, type, root
    uint64_t bytes;   // of the call's data
    uint64_t begin;   // of this frame's in it
    std::array<uint64_t, 4> unused;
  };
  struct Note {
    uint32_t ended;  // or this rank leaves
    uint32_t code;
    uint32_t rank;
    char text[244];
  };
  struct Sent {
    Note note;
    std::unique_ptr<GlooMessage> message;
  };
  struct Peer {
    std::array<std::vector<std::byte>, 2> frames;  // received
    std::array<std::unique_ptr<GlooMessage>, 2> coming, going;
    uint64_t taken = 0;
    bool left = false;
  };
  struct Span {  // of bytes
    int64_t begin, size;
  };

  GlooGroup(const GlooGroupOptions& options, std::unique_ptr<GlooLinks> links);
  void Open();

  absl::Status StartCall(GroupCall call, DType type, int root, size_t bytes);
  absl::Status OneShot(const View& piece, int64_t begin);
  absl::Status TwoShot(const View& piece, int64_t begin);
  void Sum(const void* own, const std::vector<const std::byte*>& parts, DType type, Span span,
           void* out) const;
  Span Slice(int64_t bytes, int rank) const;

  // A round: frames go out, others come in.
  absl::Status StartRound();  // this rank's frames are free
  absl::Status SendAll(int64_t begin, const void* data, int64_t bytes);
  absl::Status Send(int peer, std::byte* frame, int64_t begin, const void* data, int64_t bytes);
  absl::StatusOr<const std::byte*> Take(int peer, int64_t begin);  // the frame's data
  void GiveBack(int peer);                                         // what was taken
  absl::Status CheckFrame(int peer, const Header& theirs, int64_t begin);

  // Waits until the deadline at most; DeadlineExceeded then, Cancelled when the group has ended.
  absl::Status Await(GlooMessage& message, Clock::time_point deadline);
  absl::Status AwaitPeer(GlooMessage& message, int peer);
  absl::Status Lost(int peer);
  std::string Awaited() const;
  void RunTimer();
  void RunListener();
  void Hear(const Note& note);
  void Tell(const Note& note);

  void End(const absl::Status& why);
  absl::Status EndStatus() const;  // OK while the group lives

  const GlooGroupOptions options_;
  const Ops& ops_;
  std::array<std::vector<std::byte>, 2> out_;  // this rank's frames, by the round's parity
  std::vector<Peer> peers_;
  Header header_{};  // of the call in progress
  uint64_t round_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  absl::Status ended_;
  GlooMessage* waiting_ = nullptr;  // the caller's, and until when
  Clock::time_point deadline_ = Clock::time_point::max();
  bool late_ = false;
  std::chrono::nanoseconds limit_;
  GlooMessage* listening_ = nullptr;
  bool stopping_ = false;
  std::list<Sent> notes_;

  std::unique_ptr<GlooLinks> links_;
  std::thread timer_, listener_;
};

}  // namespace shardline
