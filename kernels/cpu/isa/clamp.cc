// Keeps numbers within bounds.
#include "kernels/cpu/isa/kernels.h"

namespace shardline::SHARDLINE_ISA {

void Clamp(const View& x, float limit, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    SL_FOR_FLOAT_TYPE(x.type, T, {
      T* row = RowOf<T>(x, t);
      for (int64_t i = 0; i < x.shape[1]; ++i) {
        float value = ToFloat(row[i]);
        value = value > limit ? limit : value;
        Put(row + i, value < -limit ? -limit : value);
      }
    });
  }
}

}  // namespace shardline::SHARDLINE_ISA
