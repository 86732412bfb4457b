// Working memory of layers: pieces taken one after the other. The same code takes them when the
// arena is planned (over no memory, to measure) and when a layer runs, so the two cannot disagree.
#pragma once

#include <cassert>
#include <cstddef>
#include <initializer_list>

#include "kernels/view.h"

namespace shardline {

class Workspace {
 public:
  Workspace() = default;  // measures
  Workspace(std::byte* memory, size_t bytes) : memory_(memory), bytes_(bytes) {}

  View Take(DType type, std::initializer_list<int64_t> shape) {
    View view = View::Contiguous(nullptr, type, shape);
    const size_t begin = used_;
    used_ += (view.bytes() + 63) / 64 * 64;
    if (memory_ != nullptr) {
      assert(used_ <= bytes_);
      view.data = memory_ + begin;
    }
    return view;
  }
  size_t used() const { return used_; }

 private:
  std::byte* memory_ = nullptr;
  size_t bytes_ = 0;
  size_t used_ = 0;
};

}  // namespace shardline
