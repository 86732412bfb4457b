// Anonymous mappings.
#include "worker/weights/mapped_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

namespace shardline {
namespace {
constexpr size_t kHugePage = 2u << 20;
}

absl::StatusOr<MappedMemory> MappedMemory::Allocate(size_t bytes, std::string_view what) {
  MappedMemory memory;
  const size_t rounded = (std::max<size_t>(bytes, 1) + kHugePage - 1) / kHugePage * kHugePage;
  void* data = mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return ResourceExhausted("not enough memory for ", bytes, " bytes of ", what);
  }
  memory.data_ = static_cast<std::byte*>(data);
  memory.bytes_ = rounded;
  madvise(data, rounded, MADV_HUGEPAGE);
  return memory;
}

MappedMemory::MappedMemory(MappedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

MappedMemory& MappedMemory::operator=(MappedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedMemory::~MappedMemory() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace shardline
