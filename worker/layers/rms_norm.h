// Root mean square norm. Source: https://arxiv.org/abs/1910.07467
#pragma once

#include <string>

#include "worker/layers/layer.h"

namespace shardline {

struct RmsNorm {
  Norm norm;
  VectorForm weight = VectorForm::kRounded;

  bool operator==(const RmsNorm&) const = default;
};

class RmsNormLayer {
 public:
  // `size`: of the rows that are normed.
  RmsNormLayer(const RmsNorm& spec, int64_t size) : spec_(spec), size_(size) {}

  void Declare(const std::string& name, WeightPlan& plan) {
    plan.Vector(
        &weight_,
        {{.name = Cat(name, ".weight"), .axes = {{"norm", size_, 0}}, .form = spec_.weight}});
  }
  // x, y: [tokens, size] or [tokens, heads, size], may be the same.
  void Forward(const StepContext& step, const View& x, const View& y) const {
    step.ops->rms_norm(step.op, x, weight_, spec_.norm, y);
  }

 private:
  RmsNorm spec_;
  int64_t size_;
  View weight_;  // [size] f32
};

}  // namespace shardline
