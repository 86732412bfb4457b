// Gated linear unit with SiLU (Shazeer 2020, arXiv:2002.05202): y = silu(gate) * up.
#include "kernels/cpu/isa/exp.h"
#include "kernels/cpu/isa/kernels.h"

namespace shardline::SHARDLINE_ISA {
namespace {

template <typename T>
void Row(const T* gate, const T* up, T* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = ToFloat(gate[i]);
    const float silu = Rounded<T>(g / (1.0f + Exp(-g)));
    Put(y + i, silu * ToFloat(up[i]));
  }
}

}  // namespace

void GatedSilu(const View& gate, const View& up, const View& y, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    SL_FOR_FLOAT_TYPE(y.type, T,
                      Row(RowOf<T>(gate, t), RowOf<T>(up, t), RowOf<T>(y, t), y.shape[1]));
  }
}

}  // namespace shardline::SHARDLINE_ISA
