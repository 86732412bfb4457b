// A router's choice, and the sum of experts' results.
#include "kernels/cpu/isa/exp.h"
#include "kernels/cpu/isa/kernels.h"

namespace shardline::SHARDLINE_ISA {
namespace {

float RoundedTo(DType type, float x) {
  if (type == DType::kBF16) return Rounded<Bf16>(x);
  return type == DType::kF16 ? Rounded<F16>(x) : x;
}

// scores := what they are chosen and weighed by.
void Score(const Routing& routing, float* scores, int64_t n) {
  for (int64_t i = 0; i < n; ++i) scores[i] = RoundedTo(routing.logits, scores[i]);
  if (routing.scoring == Scoring::kSigmoid) {
    for (int64_t i = 0; i < n; ++i) scores[i] = 1.0f / (1.0f + Exp(-scores[i]));
    return;
  }
  float top = scores[0], sum = 0;
  for (int64_t i = 1; i < n; ++i) top = scores[i] > top ? scores[i] : top;
  for (int64_t i = 0; i < n; ++i) sum += scores[i] = Exp(scores[i] - top);
  for (int64_t i = 0; i < n; ++i) scores[i] /= sum;
}

// What chooses among experts.
struct Keys {
  const float* scores;
  const float* bias;  // may be null
  float operator()(int64_t i) const { return bias != nullptr ? scores[i] + bias[i] : scores[i]; }
};

float ScoreOfGroup(GroupScore kind, const Keys& keys, int64_t begin, int64_t end) {
  float first = -__builtin_inff(), second = first;
  for (int64_t i = begin; i < end; ++i) {
    const float key = keys(i);
    if (key > first) {
      second = first;
      first = key;
    } else if (key > second) {
      second = key;
    }
  }
  return kind == GroupScore::kLargest ? first : first + second;
}

// Marks the groups whose experts may be chosen: those of the highest scores, of equals the first.
void OpenGroups(const Routing& routing, const Keys& keys, int64_t size, bool* open) {
  float scores[kMostExpertGroups];
  for (int64_t g = 0; g < routing.groups; ++g) {
    open[g] = routing.active_groups == routing.groups;
    scores[g] = ScoreOfGroup(routing.group_score, keys, g * size, (g + 1) * size);
  }
  if (routing.active_groups == routing.groups) return;
  for (int64_t k = 0; k < routing.active_groups; ++k) {
    int64_t best = -1;
    for (int64_t g = 0; g < routing.groups; ++g) {
      if (!open[g] && (best < 0 || scores[g] > scores[best])) best = g;
    }
    open[best] = true;
  }
}

bool Contains(const uint32_t* ids, int64_t count, int64_t id) {
  for (int64_t c = 0; c < count; ++c) {
    if (ids[c] == id) return true;
  }
  return false;
}

// The expert of the largest key in an open group that is not among the first `count` of `ids`; of
// equals the first.
uint32_t Next(const Keys& keys, const bool* open, int64_t groups, int64_t size, const uint32_t* ids,
              int64_t count) {
  int64_t best = -1;
  for (int64_t g = 0; g < groups; ++g) {
    if (!open[g]) continue;
    for (int64_t i = g * size; i < (g + 1) * size; ++i) {
      if (best >= 0 && !(keys(i) > keys(best))) continue;
      if (!Contains(ids, count, i)) best = i;
    }
  }
  return static_cast<uint32_t>(best);
}

void RouteRow(const Routing& routing, float* scores, int64_t n, const float* bias, uint32_t* ids,
              float* weights, int64_t active) {
  Score(routing, scores, n);
  const Keys keys{scores, bias};
  const int64_t size = n / routing.groups;
  bool open[kMostExpertGroups];
  OpenGroups(routing, keys, size, open);
  for (int64_t k = 0; k < active; ++k) ids[k] = Next(keys, open, routing.groups, size, ids, k);
  float sum = routing.epsilon;
  for (int64_t k = 0; k < active; ++k) sum += scores[ids[k]];
  for (int64_t k = 0; k < active; ++k) {
    const float weight = routing.renormalise ? scores[ids[k]] / sum : scores[ids[k]];
    weights[k] = RoundedTo(routing.weights, weight) * routing.scale;
  }
}

template <typename T>
void AddRow(T* x, float weight, const T* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) Put(x + i, ToFloat(x[i]) + Rounded<T>(ToFloat(y[i]) * weight));
}

}  // namespace

void Route(const Routing& routing, const View& scores, const View* bias, const View& ids,
           const View& weights, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    RouteRow(routing, RowOf<float>(scores, t), scores.shape[1],
             bias != nullptr ? static_cast<const float*>(bias->data) : nullptr,
             RowOf<uint32_t>(ids, t), RowOf<float>(weights, t), ids.shape[1]);
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
