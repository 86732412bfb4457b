// LayerNorm of rows (Ba et al. 2016, arXiv:1607.06450): mean first, then the squares of distances
// from it, each summed in sixteen fixed lanes, element i in lane i mod 16.
#include "kernels/cpu/isa/kernels.h"

namespace shardline::SHARDLINE_ISA {
namespace {

template <typename T>
float Mean(const T* x, int64_t n) {
  alignas(64) float lane[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int j = 0; j < 16; ++j) lane[j] += ToFloat(x[i + j]);
  }
  for (int j = 0; i + j < n; ++j) lane[j] += ToFloat(x[i + j]);
  return SumLanes(lane) / static_cast<float>(n);
}

template <typename T>
float Variance(const T* x, float mean, int64_t n) {
  alignas(64) float lane[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int j = 0; j < 16; ++j) {
      const float distance = ToFloat(x[i + j]) - mean;
      lane[j] = MulAdd(distance, distance, lane[j]);
    }
  }
  for (int j = 0; i + j < n; ++j) {
    const float distance = ToFloat(x[i + j]) - mean;
    lane[j] = MulAdd(distance, distance, lane[j]);
  }
  return SumLanes(lane) / static_cast<float>(n);
}

template <typename T>
void Row(const T* x, const float* weight, const float* bias, float eps, int64_t n, T* y) {
  const float mean = Mean(x, n);
  const float scale = 1.0f / __builtin_sqrtf(Variance(x, mean, n) + eps);
  if (weight == nullptr) {
    for (int64_t i = 0; i < n; ++i) Put(y + i, (ToFloat(x[i]) - mean) * scale);
  } else if (bias == nullptr) {
    for (int64_t i = 0; i < n; ++i) Put(y + i, (ToFloat(x[i]) - mean) * scale * weight[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) {
      Put(y + i, MulAdd((ToFloat(x[i]) - mean) * scale, weight[i], bias[i]));
    }
  }
}

// The part of a weight or a bias that is for head `head` of rows of `n`.
const float* Of(const View* vector, int64_t head, int64_t n) {
  if (vector == nullptr) return nullptr;
  return static_cast<const float*>(vector->data) + (vector->shape[0] > n ? head * n : 0);
}

}  // namespace

void LayerNorm(const View& x, const View* weight, const View* bias, float eps, const View& y,
               int64_t begin, int64_t end) {
  const int64_t heads = x.rank == 3 ? x.shape[1] : 1, n = x.shape[x.rank - 1];
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      SL_FOR_FLOAT_TYPE(x.type, T,
                        Row<T>(RowOf<T>(x, t) + h * x.stride[1], Of(weight, h, n), Of(bias, h, n),
                               eps, n, RowOf<T>(y, t) + h * y.stride[1]));
    }
  }
}

}  // namespace shardline::SHARDLINE_ISA
