// x *= factor, and the soft cap of logits (Bello et al. 2016, arXiv:1611.09940).
#include "kernels/cpu/isa/exp.h"
#include "kernels/cpu/isa/kernels.h"

namespace shardline::SHARDLINE_ISA {
namespace {

template <typename T>
void Row(T* x, float factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) Put(x + i, ToFloat(x[i]) * factor);
}

template <typename T>
void CappedRow(T* x, float factor, float cap, int64_t n) {
  for (int64_t i = 0; i < n; ++i) Put(x + i, cap * Tanh(ToFloat(x[i]) * factor / cap));
}

}  // namespace

void Scale(const View& x, float factor, float cap, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    SL_FOR_FLOAT_TYPE(x.type, T, {
      if (cap > 0) {
        CappedRow(RowOf<T>(x, t), factor, cap, x.shape[1]);
      } else {
        Row(RowOf<T>(x, t), factor, x.shape[1]);
      }
    });
  }
}

}  // namespace shardline::SHARDLINE_ISA
