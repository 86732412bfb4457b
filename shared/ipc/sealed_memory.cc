#include "shared/ipc/sealed_memory.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>

namespace shardline {
namespace {

namespace bip = boost::interprocess;

// What Boost.Interprocess maps: a descriptor that it does not own.
struct Mappable {
  int fd;
  bip::mapping_handle_t get_mapping_handle() const {
    return bip::ipcdetail::mapping_handle_from_file_handle(fd);
  }
  bip::mode_t get_mode() const { return bip::read_write; }
};

}  // namespace

SealedMemory::SealedMemory(SealedMemory&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {
  region_.swap(other.region_);
}

SealedMemory::~SealedMemory() {
  if (fd_ >= 0) close(fd_);
}

absl::Status SealedMemory::MapDescriptor(std::string_view what, uint64_t bytes) {
  try {
    bip::mapped_region region(Mappable{fd_}, bip::read_write, 0, bytes);
    region_.swap(region);
  } catch (const bip::interprocess_exception& error) {
    return ResourceExhausted("cannot map the ", what, "'s ", bytes, " bytes: ", error.what());
  }
  return absl::OkStatus();
}

absl::StatusOr<SealedMemory> SealedMemory::Create(std::string_view what, uint64_t bytes) {
  const int fd = memfd_create(Cat("shardline-", what).c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return ResourceExhausted("cannot create a memfd: ", strerror(errno));
  SealedMemory memory(fd);
  if (const int error = posix_fallocate(fd, 0, static_cast<off_t>(bytes)); error != 0) {
    return ResourceExhausted("cannot allocate ", bytes >> 10, " KiB of shared memory for the ",
                             what, ": ", strerror(error), " (raise the memory limit)");
  }
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return Internal("cannot seal the ", what, "'s memfd: ", strerror(errno));
  }
  SL_RETURN_IF_ERROR(memory.MapDescriptor(what, bytes));
  return memory;
}

absl::StatusOr<SealedMemory> SealedMemory::Map(std::string_view what, int fd,
                                               uint64_t least_bytes) {
  SealedMemory memory(fd);
  struct stat info {};
  if (fstat(fd, &info) != 0) {
    return InvalidArgument(what, " descriptor ", fd, ": ", strerror(errno));
  }
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {  // a file that shrinks would be a SIGBUS later
    return InvalidArgument(what, " descriptor ", fd, " is not a sealed memfd");
  }
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  const auto bytes = static_cast<uint64_t>(info.st_size);
  if (bytes < least_bytes) {
    return InvalidArgument(what, ": a segment of ", bytes, " bytes is too small");
  }
  SL_RETURN_IF_ERROR(memory.MapDescriptor(what, bytes));
  return memory;
}

}  // namespace shardline
