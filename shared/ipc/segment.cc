#include "shared/ipc/segment.h"

#include <unistd.h>

#include <bit>
#include <new>
#include <utility>

#include "shared/base/process.h"
#include "shared/ipc/message.h"

namespace shardline {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kDataOffset = (sizeof(SegmentHeader) + kPage - 1) / kPage * kPage;
constexpr uint64_t SegmentBytes(uint64_t ring_bytes) { return kDataOffset + 2 * ring_bytes; }

bool ValidRingBytes(uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= kMinRingBytes && bytes <= kMaxRingBytes;
}

}  // namespace

absl::StatusOr<Segment> Segment::Create(uint64_t ring_bytes, uint64_t epoch) {
  if (!ValidRingBytes(ring_bytes)) {
    return InvalidArgument("channel: ring_bytes is ", ring_bytes, ", not a power of two from ",
                           kMinRingBytes, " to ", kMaxRingBytes);
  }
  if (epoch == 0) return InvalidArgument("channel: epoch is 0");
  SL_ASSIGN_OR_RETURN(SealedMemory memory,
                      SealedMemory::Create("channel", SegmentBytes(ring_bytes)));
  Segment segment(std::move(memory));
  SL_RETURN_IF_ERROR(segment.InitialiseHeader(ring_bytes, epoch));
  return segment;
}

absl::Status Segment::InitialiseHeader(uint64_t ring_bytes, uint64_t epoch) {
  SL_ASSIGN_OR_RETURN(owner_start_ticks_, StartTicks(getpid()));
  owner_pid_ = getpid();
  ring_bytes_ = ring_bytes;
  epoch_ = epoch;
  SegmentHeader& header = *new (memory_.data()) SegmentHeader{};  // all words zero
  header.magic = kSegmentMagic;
  header.abi_version = kAbiVersion;
  header.header_bytes = sizeof(SegmentHeader);
  header.segment_bytes = SegmentBytes(ring_bytes);
  header.epoch = epoch;
  header.ring_bytes = ring_bytes;
  header.owner_pid = static_cast<uint32_t>(owner_pid_);
  header.owner_start_ticks = owner_start_ticks_;
  return absl::OkStatus();
}

absl::StatusOr<Segment> Segment::Map(int fd, uint64_t epoch) {
  SL_ASSIGN_OR_RETURN(SealedMemory memory, SealedMemory::Map("channel", fd, kDataOffset));
  Segment segment(std::move(memory));
  const uint64_t bytes = segment.memory_.bytes();
  const SegmentHeader& header = segment.header();
  if (header.magic != kSegmentMagic) return InvalidArgument("channel: wrong magic number");
  if (header.abi_version != kAbiVersion || header.header_bytes != sizeof(SegmentHeader)) {
    return InvalidArgument("channel: ABI version ", header.abi_version, " with a header of ",
                           header.header_bytes, " bytes; this program has ", kAbiVersion, " with ",
                           sizeof(SegmentHeader), ": gateway and worker are of different builds");
  }
  segment.ring_bytes_ = header.ring_bytes;
  if (!ValidRingBytes(segment.ring_bytes_) || SegmentBytes(segment.ring_bytes_) != bytes ||
      header.segment_bytes != bytes) {
    return InvalidArgument("channel: a segment of ", bytes, " bytes cannot hold rings of ",
                           segment.ring_bytes_);
  }
  segment.epoch_ = header.epoch;
  if (segment.epoch_ != epoch) {
    return InvalidArgument("channel: the segment is of epoch ", segment.epoch_, ", not ", epoch);
  }
  segment.owner_pid_ = static_cast<pid_t>(header.owner_pid);
  segment.owner_start_ticks_ = header.owner_start_ticks;
  return segment;
}

std::span<std::byte> Segment::ring_data(Side writer) const {
  return {memory_.data() + kDataOffset + static_cast<uint64_t>(writer) * ring_bytes_, ring_bytes_};
}

}  // namespace shardline
