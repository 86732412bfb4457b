// Rotary position embedding (Su et al. 2021, arXiv:2104.09864), in place.
#include "kernels/cpu/isa/kernels.h"

namespace shardline::SHARDLINE_ISA {
namespace {

// The pairs are (i, i + half).
template <typename T>
void RotateHalves(T* x, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = ToFloat(x[i]), b = ToFloat(x[i + half]);
    Put(x + i, a * cos[i] - b * sin[i]);
    Put(x + i + half, b * cos[i] + a * sin[i]);
  }
}

// The pairs are (2i, 2i + 1).
template <typename T>
void RotateNeighbours(T* x, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = ToFloat(x[2 * i]), b = ToFloat(x[2 * i + 1]);
    Put(x + 2 * i, a * cos[i] - b * sin[i]);
    Put(x + 2 * i + 1, b * cos[i] + a * sin[i]);
  }
}

}  // namespace

void Rope(const View& x, const View& cos, const View& sin, RopeStyle style, int64_t begin,
          int64_t end) {
  const int64_t half = cos.shape[1];
  for (int64_t t = begin; t < end; ++t) {
    const float* c = RowOf<float>(cos, t);
    const float* s = RowOf<float>(sin, t);
    for (int64_t head = 0; head < x.shape[1]; ++head) {
      SL_FOR_FLOAT_TYPE(x.type, T, {
        T* values = RowOf<T>(x, t) + head * x.stride[1];
        if (style == RopeStyle::kHalf) {
          RotateHalves(values, c, s, half);
        } else {
          RotateNeighbours(values, c, s, half);
        }
      });
    }
  }
}

}  // namespace shardline::SHARDLINE_ISA
