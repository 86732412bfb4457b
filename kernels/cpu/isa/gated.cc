// Activations: alone, and in gated linear units (Shazeer 2020, arXiv:2002.05202), y = act(gate) *
// up.
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

// x Φ(x), with Φ from erfc of |x| / sqrt(2), so that small shares keep their digits.
struct Gelu {
  SL_INLINE static float Of(float x) {
    const float magnitude = x < 0.0f ? -x : x;
    const float share = 0.5f * Erfc(magnitude * 0.7071067812f);
    return x * (x < 0.0f ? share : 1.0f - share);
  }
};

struct Relu2 {
  SL_INLINE static float Of(float x) {
    const float positive = x < 0.0f ? 0.0f : x;
    return positive * positive;
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

template <typename Act>
void RowsAlone(const View& x, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    SL_FOR_FLOAT_TYPE(x.type, T, {
      T* row = RowOf<T>(x, t);
      for (int64_t i = 0; i < x.shape[1]; ++i) Put(row + i, Act::Of(ToFloat(row[i])));
    });
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
    case Activation::kGelu:
      return Rows<Gelu>(gate, up, y, begin, end);
    case Activation::kRelu2:
      return Rows<Relu2>(gate, up, y, begin, end);
  }
}

void Activate(Activation act, const View& x, int64_t begin, int64_t end) {
  switch (act) {
    case Activation::kSilu:
      return RowsAlone<Silu>(x, begin, end);
    case Activation::kGeluTanh:
      return RowsAlone<GeluTanh>(x, begin, end);
    case Activation::kGelu:
      return RowsAlone<Gelu>(x, begin, end);
    case Activation::kRelu2:
      return RowsAlone<Relu2>(x, begin, end);
  }
}

}  // namespace shardline::SHARDLINE_ISA
