#include "shared/ipc/segment.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <new>
#include <utility>

#include "shared/base/process.h"
#include "shared/ipc/message.h"

namespace shardline {
namespace {

namespace bip = boost::interprocess;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kDataOffset = (sizeof(SegmentHeader) + kPage - 1) / kPage * kPage;
constexpr uint64_t SegmentBytes(uint64_t ring_bytes) { return kDataOffset + 2 * ring_bytes; }

// What Boost.Interprocess maps: a descriptor that it does not own.
struct Mappable {
  int fd;
  bip::mapping_handle_t get_mapping_handle() const {
    return bip::ipcdetail::mapping_handle_from_file_handle(fd);
  }
  bip::mode_t get_mode() const { return bip::read_write; }
};

bool ValidRingBytes(uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= kMinRingBytes && bytes <= kMaxRingBytes;
}

}  // namespace

Segment::Segment(Segment&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      epoch_(other.epoch_),
      ring_bytes_(other.ring_bytes_),
      owner_pid_(other.owner_pid_),
      owner_start_ticks_(other.owner_start_ticks_) {
  region_.swap(other.region_);
}

Segment::~Segment() {
  if (fd_ >= 0) close(fd_);
}

absl::Status Segment::MapDescriptor(uint64_t bytes) {
  try {
    bip::mapped_region region(Mappable{fd_}, bip::read_write, 0, bytes);
    region_.swap(region);
  } catch (const bip::interprocess_exception& error) {
    return ResourceExhausted("cannot map the channel's ", bytes, " bytes: ", error.what());
  }
  return absl::OkStatus();
}

absl::StatusOr<Segment> Segment::Create(uint64_t ring_bytes, uint64_t epoch) {
  if (!ValidRingBytes(ring_bytes)) {
    return InvalidArgument("channel: ring_bytes is ", ring_bytes, ", not a power of two from ",
                           kMinRingBytes, " to ", kMaxRingBytes);
  }
  if (epoch == 0) return InvalidArgument("channel: epoch is 0");
  const int fd = memfd_create("shardline-channel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return ResourceExhausted("cannot create a memfd: ", strerror(errno));
  Segment segment(fd);
  const uint64_t bytes = SegmentBytes(ring_bytes);
  if (const int error = posix_fallocate(fd, 0, static_cast<off_t>(bytes)); error != 0) {
    return ResourceExhausted("cannot allocate ", bytes >> 10,
                             " KiB of shared memory for the channel: ", strerror(error),
                             " (raise the memory limit)");
  }
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return Internal("cannot seal the channel's memfd: ", strerror(errno));
  }
  SL_RETURN_IF_ERROR(segment.MapDescriptor(bytes));
  SL_RETURN_IF_ERROR(segment.InitialiseHeader(ring_bytes, epoch));
  return segment;
}

absl::Status Segment::InitialiseHeader(uint64_t ring_bytes, uint64_t epoch) {
  SL_ASSIGN_OR_RETURN(owner_start_ticks_, StartTicks(getpid()));
  owner_pid_ = getpid();
  ring_bytes_ = ring_bytes;
  epoch_ = epoch;
  SegmentHeader& header = *new (region_.get_address()) SegmentHeader{};  // all words zero
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
  Segment segment(fd);
  struct stat info {};
  if (fstat(fd, &info) != 0) {
    return InvalidArgument("channel descriptor ", fd, ": ", strerror(errno));
  }
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {  // a file that shrinks would be a SIGBUS later
    return InvalidArgument("channel descriptor ", fd, " is not a sealed memfd");
  }
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  const auto bytes = static_cast<uint64_t>(info.st_size);
  if (bytes < kDataOffset) {
    return InvalidArgument("channel: a segment of ", bytes, " bytes is too small");
  }
  SL_RETURN_IF_ERROR(segment.MapDescriptor(bytes));

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
  auto* base = static_cast<std::byte*>(region_.get_address());
  return {base + kDataOffset + static_cast<uint64_t>(writer) * ring_bytes_, ring_bytes_};
}

}  // namespace shardline
