// Views as libtorch tensors over the same memory.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "kernels/view.h"

namespace shardline::reference {

inline at::ScalarType TorchType(DType type) {
  switch (type) {
    case DType::kF32:
      return at::kFloat;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kF16:
      return at::kHalf;
    case DType::kI32:
    case DType::kU32:  // ids are far below 2^31
      return at::kInt;
    case DType::kI64:
      return at::kLong;
    case DType::kU8:
      return at::kByte;
  }
  return at::kByte;
}

inline at::Tensor TensorOf(const View& view) {
  const std::vector<int64_t> shape(view.shape.begin(), view.shape.begin() + view.rank);
  const std::vector<int64_t> stride(view.stride.begin(), view.stride.begin() + view.rank);
  return at::from_blob(view.data, shape, stride, at::TensorOptions(TorchType(view.type)));
}

}  // namespace shardline::reference
