// Root mean square norm of rows: the squares are summed in sixteen fixed lanes, element i in lane i
// mod 16.
#include "kernels/cpu/isa/kernels.h"

namespace shardline::SHARDLINE_ISA {
namespace {

template <typename X>
float SumOfSquares(const X* x, int64_t n) {
  alignas(64) float lane[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int j = 0; j < 16; ++j) lane[j] = MulAdd(ToFloat(x[i + j]), ToFloat(x[i + j]), lane[j]);
  }
  for (int j = 0; i + j < n; ++j) lane[j] = MulAdd(ToFloat(x[i + j]), ToFloat(x[i + j]), lane[j]);
  return SumLanes(lane);
}

template <typename T, typename X>
void Row(const X* x, const float* weight, Norm norm, int64_t n, T* y) {
  const float mean = SumOfSquares(x, n) / static_cast<float>(n);
  const float scale = 1.0f / __builtin_sqrtf(mean + norm.eps);
  if (norm.rounding == NormRounding::kOnce) {
    for (int64_t i = 0; i < n; ++i) Put(y + i, ToFloat(x[i]) * scale * weight[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) Put(y + i, Rounded<T>(ToFloat(x[i]) * scale) * weight[i]);
  }
}

// Of f32 rows to narrower ones.
template <typename T>
void WideRow(const float* x, const float* weight, Norm norm, int64_t n, T* y) {
  if (norm.rounding == NormRounding::kOnce) return Row<T>(x, weight, norm, n, y);
  for (int64_t i = 0; i < n; ++i) Put(y + i, x[i]);
  Row<T>(y, weight, norm, n, y);
}

}  // namespace

void RmsNorm(const View& x, const View& weight, Norm norm, const View& y, int64_t begin,
             int64_t end) {
  const auto* w = static_cast<const float*>(weight.data);
  const int64_t heads = x.rank == 3 ? x.shape[1] : 1, n = x.shape[x.rank - 1];
  const bool wide = x.type != y.type;
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      SL_FOR_FLOAT_TYPE(y.type, T, {
        T* out = RowOf<T>(y, t) + h * y.stride[1];
        if (wide) {
          WideRow<T>(RowOf<float>(x, t) + h * x.stride[1], w, norm, n, out);
        } else {
          Row<T>(RowOf<T>(x, t) + h * x.stride[1], w, norm, n, out);
        }
      });
    }
  }
}

}  // namespace shardline::SHARDLINE_ISA
