// x += y, rounded to the type of x.
#include "kernels/cpu/isa/kernels.h"

namespace shardline::SHARDLINE_ISA {
namespace {

template <typename X, typename Y>
void Row(X* x, const Y* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) Put(x + i, ToFloat(x[i]) + ToFloat(y[i]));
}

}  // namespace

void Add(const View& x, const View& y, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    SL_FOR_FLOAT_TYPE(x.type, X, {
      SL_FOR_FLOAT_TYPE(y.type, Y, Row(RowOf<X>(x, t), RowOf<Y>(y, t), x.shape[1]));
    });
  }
}

}  // namespace shardline::SHARDLINE_ISA
