// The plain read that measurements stand beside: what bounds a decode step is reading the weights,
// and a shared machine's bandwidth changes by the minute.
#pragma once

#include <sys/mman.h>

#include <cstddef>

#include "kernels/cpu/thread_pool.h"

namespace shardline {

// Memory in huge pages, as the worker's weights are.
class Memory {
 public:
  explicit Memory(size_t bytes) : bytes_(bytes) {
    data_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(data_, bytes, MADV_HUGEPAGE);
  }
  ~Memory() { munmap(data_, bytes_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  void* data() const { return data_; }

 private:
  size_t bytes_;
  void* data_;
};

typedef long Words __attribute__((vector_size(64)));

// One thread's part, four streams of `quarter` each, with prefetches as the products have. In the
// widest registers: narrower ones read half as fast.
[[gnu::target_clones("avx512f", "avx2", "default")]] static void ReadPart(const Words* p,
                                                                          size_t quarter) {
  Words sum[4] = {};
  for (size_t i = 0; i < quarter; ++i) {
    for (size_t j = 0; j < 4; ++j) {
      __builtin_prefetch(p + j * quarter + i + 32);
      sum[j] ^= p[j * quarter + i];
    }
  }
  for (Words& s : sum) asm volatile("" : : "m"(s));  // so that the reads are not left out
}

// Reads all of it on all threads.
inline void Read(ThreadPool& pool, const void* data, size_t bytes) {
  pool.Run([&](int part, int parts) {
    const size_t quarter = bytes / 256 / static_cast<size_t>(parts);
    ReadPart(static_cast<const Words*>(data) + quarter * 4 * static_cast<size_t>(part), quarter);
  });
}

}  // namespace shardline
