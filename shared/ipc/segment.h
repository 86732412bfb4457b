// The shared-memory segment of one channel: a sealed memfd that both processes map. It holds a
// header, the two sides' life signs and two rings. Positions are offsets, never pointers; what a
// process needs to know about the layout is checked once when it maps the segment and kept in its
// own memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "shared/base/status.h"
#include "shared/ipc/doorbell.h"
#include "shared/ipc/sealed_memory.h"

namespace shardline {

enum class Side : uint32_t { kGateway = 0, kWorker = 1 };
constexpr Side Other(Side side) { return side == Side::kGateway ? Side::kWorker : Side::kGateway; }
// "gateway", "worker"
constexpr std::string_view Name(Side side) { return side == Side::kGateway ? "gateway" : "worker"; }

enum class SideState : uint32_t { kAbsent = 0, kAttached = 1, kClosed = 2 };

// Lines of two: the adjacent-line prefetcher fetches pairs.
inline constexpr size_t kCacheLine = 128;

// What the two ends of a ring tell each other. Positions count bytes since the start and only grow;
// position modulo capacity is the place in the ring.
struct RingControl {
  alignas(kCacheLine) std::atomic<uint64_t> head;  // written by the writer: end of the last record
  alignas(
      kCacheLine) std::atomic<uint64_t> tail;  // written by the reader: end of what it has taken
  alignas(kCacheLine) Doorbell data;           // the reader waits here
  alignas(kCacheLine) Doorbell space;          // the writer waits here
};
static_assert(std::atomic<uint64_t>::is_always_lock_free && sizeof(std::atomic<uint64_t>) == 8);
static_assert(sizeof(RingControl) == 4 * kCacheLine);

struct SideControl {
  alignas(kCacheLine) std::atomic<uint32_t> state;  // SideState, a futex word
  alignas(kCacheLine)
      std::atomic<uint32_t> alive;  // held for life by a thread of this side (life_sign.h)
};

struct SegmentHeader {
  uint64_t magic;
  uint32_t abi_version;
  uint32_t header_bytes;
  uint64_t segment_bytes;
  uint64_t epoch;
  uint64_t ring_bytes;  // of each ring
  uint32_t owner_pid;   // the gateway
  uint32_t reserved;
  uint64_t owner_start_ticks;
  SideControl sides[2];  // by Side
  RingControl rings[2];  // by the writing Side
};

inline constexpr uint64_t kSegmentMagic = 0x454e494c44524853;  // "SHRDLINE"
inline constexpr uint64_t kMinRingBytes = uint64_t{4} << 10;
inline constexpr uint64_t kMaxRingBytes = uint64_t{1} << 30;

class Segment {
 public:
  // A new memfd with all its pages allocated (so that no later write can fail for want of memory),
  // sealed against changes of size. Errors: InvalidArgument (ring_bytes, epoch 0),
  // ResourceExhausted.
  static absl::StatusOr<Segment> Create(uint64_t ring_bytes, uint64_t epoch);
  // Maps a descriptor received from the gateway and takes it over.
  // Errors: InvalidArgument saying what does not fit.
  static absl::StatusOr<Segment> Map(int fd, uint64_t epoch);

  int fd() const { return memory_.fd(); }
  uint64_t epoch() const { return epoch_; }
  uint64_t ring_bytes() const { return ring_bytes_; }
  // The process that created the segment.
  pid_t owner_pid() const { return owner_pid_; }
  uint64_t owner_start_ticks() const { return owner_start_ticks_; }

  SideControl& side(Side side) const { return header().sides[static_cast<int>(side)]; }
  SideState side_state(Side which) const {
    return static_cast<SideState>(side(which).state.load(std::memory_order_seq_cst));
  }
  RingControl& ring(Side writer) const { return header().rings[static_cast<int>(writer)]; }
  std::span<std::byte> ring_data(Side writer) const;

 private:
  explicit Segment(SealedMemory memory) : memory_(std::move(memory)) {}
  absl::Status InitialiseHeader(uint64_t ring_bytes, uint64_t epoch);
  SegmentHeader& header() const { return *reinterpret_cast<SegmentHeader*>(memory_.data()); }

  SealedMemory memory_;
  uint64_t epoch_ = 0;
  uint64_t ring_bytes_ = 0;
  pid_t owner_pid_ = 0;
  uint64_t owner_start_ticks_ = 0;
};

}  // namespace shardline
