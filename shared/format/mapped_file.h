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

}  // namespace shardline
