// Gated linear units (Shazeer 2020, arXiv:2002.05202): y = act(gate) * up.
#include "kernels/cpu/isa/exp.h"
#include "kernels/cpu/isa/kernels.h"

namespace shardline::SHARDLINE_ISA {
namespace {

struct Silu {
  SL_INLINE static float Of(float x) { return x / (1.0f + Exp(-x)); }
};

// x / 2 * (1 + tanh u) with u = sqrt(2 / pi) * (x + 0.044715 x³) is x / (1 + e^-2u)
// (Hendrycks & Gimpel 2016, arXiv:1606.08415).
struct GeluTanh {
  SL_INLINE static float Of(float x) {
    const float u = 0.7978845608f * (x + 0.044715f * (x * x * x));
    return x / (1.0f + Exp(-2.0f * u));
  }
};

template <typename Act, typename T>
void Row(const T* gate, const T* up, T* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    Put(y + i, Rounded<T>(Act::Of(ToFloat(gate[i]))) * ToFloat(up[i]));
  }
}

template <typename Act>
void Rows(const View& gate, const View& up, const View& y, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    SL_FOR_FLOAT_TYPE(y.type, T,
                      Row<Act>(RowOf<T>(gate, t), RowOf<T>(up, t), RowOf<T>(y, t), y.shape[1]));
  }
}

}  // namespace

void Gated(Activation act, const View& gate, const View& up, const View& y, int64_t begin,
           int64_t end) {
  switch (act) {
    case Activation::kSilu:
      return Rows<Silu>(gate, up, y, begin, end);
    case Activation::kGeluTanh:
      return Rows<GeluTanh>(gate, up, y, begin, end);
  }
}

}  // namespace shardline::SHARDLINE_ISA
