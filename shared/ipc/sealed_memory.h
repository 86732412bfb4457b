// A memfd that several processes map: all its pages allocated and its size sealed when it is made,
// so that no later access can fail. It is handed on as a descriptor, so it has no name that could
// clash or leak.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "shared/base/status.h"

namespace shardline {

class SealedMemory {
 public:
  // `what` says in error texts whose memory it is: "channel". All bytes are zero.
  // Errors: ResourceExhausted.
  static absl::StatusOr<SealedMemory> Create(std::string_view what, uint64_t bytes);
  // Maps a descriptor that another process made, and takes it over. What the memory holds is the
  // caller's to check. Errors: InvalidArgument (no sealed memfd, or smaller than `least_bytes`).
  static absl::StatusOr<SealedMemory> Map(std::string_view what, int fd, uint64_t least_bytes);

  SealedMemory(SealedMemory&& other) noexcept;
  SealedMemory& operator=(SealedMemory&&) = delete;
  ~SealedMemory();

  int fd() const { return fd_; }  // close-on-exec
  uint64_t bytes() const { return region_.get_size(); }
  std::byte* data() const { return static_cast<std::byte*>(region_.get_address()); }

 private:
  explicit SealedMemory(int fd) : fd_(fd) {}
  absl::Status MapDescriptor(std::string_view what, uint64_t bytes);

  int fd_ = -1;
  boost::interprocess::mapped_region region_;
};

}  // namespace shardline
