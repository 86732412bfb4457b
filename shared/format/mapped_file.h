// A file mapped read-only for as long as the object lives.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "shared/base/status.h"

namespace shardline {

class MappedFile {
 public:
  // Errors: NotFound / InvalidArgument "PATH: reason". An empty file maps to an empty span.
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  MappedFile() = default;
  std::span<const std::byte> bytes_;
};

// From now on a file that another process cuts short while it is mapped ends this one, instead of a
// crash: one line that begins with `program`, which must stay valid, and exit code 2.
void ExitWhenMappedFilesShrink(const char* program);

}  // namespace shardline
