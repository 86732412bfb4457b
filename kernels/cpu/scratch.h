// Takes pieces from an operation's scratch memory. A caller that gave too little (see
// Ops::scratch_bytes) pays with an allocation, not with a wrong result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/ops.h"

namespace shardline {

class Scratch {
 public:
  Scratch(const OpContext& context, size_t bytes) {
    auto address = reinterpret_cast<uintptr_t>(context.scratch);
    const uintptr_t aligned = (address + 63) / 64 * 64;
    if (context.scratch != nullptr && aligned - address + bytes <= context.scratch_bytes) {
      next_ = reinterpret_cast<std::byte*>(aligned);
      return;
    }
    own_ = std::make_unique_for_overwrite<std::byte[]>(bytes + 64);
    next_ = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(own_.get()) + 63) / 64 * 64);
  }

  // The next `bytes` bytes, at a multiple of 64. All pieces together: at most what was asked for.
  void* Take(size_t bytes) {
    void* piece = next_;
    next_ += Rounded(bytes);
    return piece;
  }
  static constexpr size_t Rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }

 private:
  std::byte* next_ = nullptr;
  std::unique_ptr<std::byte[]> own_;
};

}  // namespace shardline
