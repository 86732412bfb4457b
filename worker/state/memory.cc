#include "worker/state/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace shardline {
namespace {

constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();

uint64_t NumberIn(const std::string& path) {
  std::ifstream file(path);
  uint64_t number = 0;
  return file >> number ? number : kUnknown;  // "max" is no number
}

uint64_t MachineAvailable() {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  uint64_t number = 0;
  while (file >> name >> number) {
    if (name == "MemAvailable:") return number * 1024;
    std::getline(file, unit);
  }
  return kUnknown;
}

// File pages that the group could drop count as left.
uint64_t InactiveFile(const std::string& path) {
  std::ifstream file(path);
  std::string name;
  uint64_t number = 0;
  while (file >> name >> number) {
    if (name == "inactive_file" || name == "total_inactive_file") return number;
  }
  return 0;
}

uint64_t GroupLeft(const std::string& limit_path, const std::string& used_path,
                   const std::string& stat_path) {
  const uint64_t limit = NumberIn(limit_path), used = NumberIn(used_path);
  if (limit == kUnknown || used == kUnknown) return kUnknown;
  const uint64_t kept = used - std::min(used, InactiveFile(stat_path));
  return limit > kept ? limit - kept : 0;
}

}  // namespace

uint64_t AvailableMemoryBytes() {
  const std::string root = "/sys/fs/cgroup/";
  const std::string old = root + "memory/memory.";
  const uint64_t available =
      std::min({MachineAvailable(),
                GroupLeft(root + "memory.max", root + "memory.current", root + "memory.stat"),
                GroupLeft(old + "limit_in_bytes", old + "usage_in_bytes", old + "stat")});
  return available == kUnknown ? 0 : available;
}

absl::StatusOr<MemoryPool> MemoryPool::Create(size_t bytes) {
  MemoryPool pool;
  if (bytes == 0) return pool;
  if (const uint64_t available = AvailableMemoryBytes(); available > 0 && bytes > available) {
    return ResourceExhausted(bytes, " bytes are wanted, ", available, " are available");
  }
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return ResourceExhausted("mmap of ", bytes, " bytes failed");
  pool.data_ = static_cast<std::byte*>(data);
  pool.bytes_ = bytes;
  madvise(data, bytes, MADV_HUGEPAGE);
  return pool;
}

void MemoryPool::Populate(size_t offset, size_t bytes) const {
  constexpr size_t kPage = 4096;
  const size_t begin = offset / kPage * kPage;
  const size_t end = std::min(bytes_, offset + bytes);
#if defined(MADV_POPULATE_WRITE)
  if (begin < end) madvise(data_ + begin, end - begin, MADV_POPULATE_WRITE);
#endif
}

MemoryPool::~MemoryPool() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace shardline
