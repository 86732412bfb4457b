// A group of processes on one machine, over shared memory.
//
//   launcher: fd = ShmGroup::CreateSegment(ranks, epoch) → Process::Spawn({… descriptors = {fd}})
//   rank:     DieWithParent → ShmGroup::Attach(3, {.rank, .size, .epoch})
//
// Every call is one or more rounds. In a round a rank writes its own buffer, publishes the round's
// number, and reads the others' buffers once they have published it too. Buffers alternate by the
// round's parity; a rank that has published round n no longer reads buffers of round n - 2. So
// nothing is locked, and a rank is never more than one round ahead.
//
// An all-reduce of up to 64 KiB is one round in which every rank adds all parts ("one-shot").
// Above, every rank adds one slice and hands the sum around in a second round ("two-shot"). Both
// add in rank order in f32 and round once, so they give the same bits.
//
// A wait looks for a few microseconds, then sleeps. It ends with an error at its limit, and within
// about a millisecond when a rank has died or left: rank r watches rank r + 1 (DeathWatch), and
// whoever notices first ends the group for all.
#pragma once

#include <chrono>
#include <memory>

#include "kernels/ops.h"
#include "shared/ipc/death_watch.h"
#include "shared/ipc/group_segment.h"
#include "worker/parallel/call.h"
#include "worker/parallel/process_group.h"

namespace shardline {

struct ShmGroupOptions {
  int rank = 0;
  int size = 1;
  uint64_t epoch = 0;                   // of this start of the group; never the same for two
  std::chrono::nanoseconds spin{4000};  // looks this long before it sleeps
  std::chrono::nanoseconds limit = std::chrono::seconds(30);  // of one wait for the other ranks
};

class ShmGroup final : public ProcessGroup {
 public:
  static constexpr int64_t kOneShotBytes = 64 << 10;
  static constexpr uint64_t kBufferBytes = kGroupBufferBytes;

  // The launcher's part: a descriptor to hand to every rank, which the caller closes. It takes
  // 2 * ranks * buffer_bytes of memory; larger calls go in pieces.
  // Errors: InvalidArgument (ranks, epoch 0, buffer_bytes), ResourceExhausted.
  static absl::StatusOr<int> CreateSegment(int ranks, uint64_t epoch,
                                           uint64_t buffer_bytes = kBufferBytes);
  // Takes the descriptor over. Does not wait for the other ranks; the first call does.
  // Errors: InvalidArgument (no segment of this version, epoch and size), FailedPrecondition (the
  // rank is taken).
  static absl::StatusOr<std::unique_ptr<ShmGroup>> Attach(int fd, const ShmGroupOptions& options);
  ~ShmGroup() override;

  int rank() const override { return options_.rank; }
  int size() const override { return options_.size; }
  absl::Status AllReduce(const View& data) override;
  absl::Status AllGather(const View& in, const View& out) override;
  absl::Status Broadcast(const View& data, int root) override;
  absl::Status Barrier() override;
  void SetLimit(std::chrono::nanoseconds limit) override { options_.limit = limit; }
  void Abort(std::string_view reason) override;

 private:
  struct Span {  // of bytes
    int64_t begin, size;
  };

  ShmGroup(GroupSegment segment, const ShmGroupOptions& options);
  absl::Status Open();

  absl::Status StartCall(GroupCall call, DType type, int root, size_t bytes);
  absl::Status OneShot(const View& piece);
  absl::Status TwoShot(const View& piece);
  Span Slice(const View& piece, int rank) const;
  void Sum(const View& data, Span span, void* out) const;

  std::byte* Buffer(int rank) const { return segment_.buffer(rank, round_); }
  absl::Status StartRound();  // this rank's buffer is free
  void Publish();             // and filled
  absl::Status AwaitAll();    // the others' buffers are filled
  absl::Status AwaitRound(uint64_t round, int first, int end);
  absl::Status CheckCall(int rank);  // they do the same as this rank

  void End(const absl::Status& why);
  absl::Status EndStatus() const;  // OK while the group lives
  void PeerGone(PeerEnd end);
  absl::Status Missing(int rank) const;

  const GroupSegment segment_;
  ShmGroupOptions options_;
  const Ops& ops_;
  bool open_ = false;
  uint64_t round_ = 0;
  uint64_t call_ = 0;  // packed, as in RankControl::call
  DeathWatch watch_;   // of the next rank; last: its thread uses all the rest
};

}  // namespace shardline
