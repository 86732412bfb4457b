// A router's choice, and the sum of experts' results.
#include "kernels/cpu/isa/exp.h"
#include "kernels/cpu/isa/kernels.h"

namespace shardline::SHARDLINE_ISA {
namespace {

// The index of the largest score below the last chosen one; of equals the first.
uint32_t Next(const float* scores, int64_t n, const uint32_t* chosen, int64_t count) {
  int64_t best = -1;
  for (int64_t i = 0; i < n; ++i) {
    bool taken = false;
    for (int64_t c = 0; c < count; ++c) taken = taken || chosen[c] == i;
    if (!taken && (best < 0 || scores[i] > scores[best])) best = i;
  }
  return static_cast<uint32_t>(best);
}

void RouteRow(const float* scores, int64_t n, bool renormalise, uint32_t* ids, float* weights,
              int64_t active) {
  for (int64_t k = 0; k < active; ++k) ids[k] = Next(scores, n, ids, k);
  const float top = scores[ids[0]];
  float all = 0, chosen = 0;
  for (int64_t i = 0; i < n; ++i) all += Exp(scores[i] - top);
  for (int64_t k = 0; k < active; ++k) chosen += weights[k] = Exp(scores[ids[k]] - top);
  const float sum = renormalise ? chosen : all;
  for (int64_t k = 0; k < active; ++k) weights[k] /= sum;
}

template <typename T>
void AddRow(T* x, float weight, const T* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) Put(x + i, ToFloat(x[i]) + Rounded<T>(ToFloat(y[i]) * weight));
}

}  // namespace

void Route(const View& scores, bool renormalise, const View& ids, const View& weights,
           int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    RouteRow(RowOf<float>(scores, t), scores.shape[1], renormalise, RowOf<uint32_t>(ids, t),
             RowOf<float>(weights, t), ids.shape[1]);
  }
}

void AddRows(const View& x, const View& rows, const View& weights, const View& y, int64_t begin,
             int64_t end) {
  const auto* row = static_cast<const uint32_t*>(rows.data);
  const auto* weight = static_cast<const float*>(weights.data);
  for (int64_t i = begin; i < end; ++i) {
    SL_FOR_FLOAT_TYPE(x.type, T,
                      AddRow(RowOf<T>(x, row[i]), weight[i], RowOf<T>(y, i), y.shape[1]));
  }
}

}  // namespace shardline::SHARDLINE_ISA
