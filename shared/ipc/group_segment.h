// The shared memory of one group of ranks: a header, each rank's words, and two buffers for each
// rank. Whoever starts the ranks makes it and hands every rank its descriptor. Positions are
// offsets; what a rank needs to know about the layout is checked once and kept in its own memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "shared/base/status.h"
#include "shared/ipc/doorbell.h"
#include "shared/ipc/sealed_memory.h"
#include "shared/ipc/segment.h"

namespace shardline {

// Why a group has ended. The first to write it wins.
struct GroupEnd {
  std::atomic<uint32_t> state;  // 0: not ended, 1: being written, 2: code and text are there
  std::atomic<uint32_t> code;   // absl::StatusCode
  char text[248];               // ends with a zero
};

struct RankControl {
  SideControl life;
  // The last round whose buffer this rank has written, and what call it belongs to (by the round's
  // parity). See ShmGroup.
  alignas(kCacheLine) std::atomic<uint64_t> round;
  std::atomic<uint64_t> call[2];
  alignas(kCacheLine) Doorbell bell;  // this rank waits here
};
static_assert(sizeof(RankControl) == 4 * kCacheLine);

struct GroupHeader {
  uint64_t magic;
  uint32_t abi_version;
  uint32_t header_bytes;
  uint64_t segment_bytes;
  uint64_t epoch;
  uint32_t ranks;
  uint32_t rank_bytes;  // of a RankControl
  uint64_t buffer_bytes;
  alignas(kCacheLine) GroupEnd end;
};

inline constexpr uint64_t kGroupMagic = 0x50554f5247524853;  // "SHRGROUP"
inline constexpr uint32_t kGroupAbiVersion = 1;
inline constexpr int kMaxRanks = 64;
inline constexpr uint64_t kGroupBufferBytes = uint64_t{1} << 20;
inline constexpr uint64_t kMinBufferBytes = uint64_t{4} << 10;  // a multiple of it
inline constexpr uint64_t kMaxBufferBytes = uint64_t{256} << 20;

class GroupSegment {
 public:
  // Takes 2 * ranks * buffer_bytes of memory; larger calls go in pieces.
  // Errors: InvalidArgument (ranks, buffer_bytes, epoch 0), ResourceExhausted.
  static absl::StatusOr<GroupSegment> Create(int ranks, uint64_t epoch,
                                             uint64_t buffer_bytes = kGroupBufferBytes);
  // Takes the descriptor over. Errors: InvalidArgument saying what does not fit.
  static absl::StatusOr<GroupSegment> Map(int fd, int ranks, uint64_t epoch);

  int fd() const { return memory_.fd(); }
  int ranks() const { return ranks_; }
  uint64_t buffer_bytes() const { return buffer_bytes_; }

  GroupEnd& end() const { return header().end; }
  RankControl& rank(int rank) const {
    return reinterpret_cast<RankControl*>(memory_.data() + sizeof(GroupHeader))[rank];
  }
  // Rank `rank`'s buffer for rounds of this parity.
  std::byte* buffer(int rank, uint64_t round) const;

 private:
  GroupSegment(SealedMemory memory, int ranks, uint64_t buffer_bytes)
      : memory_(std::move(memory)), ranks_(ranks), buffer_bytes_(buffer_bytes) {}
  GroupHeader& header() const { return *reinterpret_cast<GroupHeader*>(memory_.data()); }

  SealedMemory memory_;
  int ranks_ = 0;
  uint64_t buffer_bytes_ = 0;
};

}  // namespace shardline
