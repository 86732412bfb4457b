// A weight matrix in the layout that one device's matmul reads fastest, with what is needed to read
// single rows back (tied embeddings share one copy with the head).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/view.h"

namespace shardline {

struct Packed {
  void* data = nullptr;
  DType type = DType::kF32;  // of the stored elements
  int64_t rows = 0;          // output features (n)
  int64_t cols = 0;          // input features (k)
  size_t bytes = 0;
};

}  // namespace shardline
