// Memory that this process may still take, and large pools of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "shared/base/status.h"

namespace shardline {

// The smaller of what the machine has available and what the control group leaves; 0 if neither is
// known.
uint64_t AvailableMemoryBytes();

// Zeroed memory of its own mapping, on huge pages where the kernel gives them.
class MemoryPool {
 public:
  MemoryPool() = default;
  // Errors: ResourceExhausted with the number of bytes.
  static absl::StatusOr<MemoryPool> Create(size_t bytes);
  ~MemoryPool();
  MemoryPool(MemoryPool&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  MemoryPool& operator=(MemoryPool&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  // Backs [offset, offset + bytes) with real pages now; what is written there stays, and other
  // threads may use the pool meanwhile. Kernels before 5.14 do it at the first use instead.
  void Populate(size_t offset, size_t bytes) const;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace shardline
