// One large piece of memory from the system, on huge pages where the machine gives them: a model's
// weights, and the arena of its activations. Pages cost memory once they are written.
#pragma once

#include <cstddef>
#include <string_view>

#include "shared/base/status.h"

namespace shardline {

class MappedMemory {
 public:
  // Errors: ResourceExhausted naming what the memory was for.
  static absl::StatusOr<MappedMemory> Allocate(size_t bytes, std::string_view what);
  MappedMemory() = default;
  MappedMemory(MappedMemory&& other) noexcept;
  MappedMemory& operator=(MappedMemory&& other) noexcept;
  ~MappedMemory();

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace shardline
