// Root mean square norm. Source: https://arxiv.org/abs/1910.07467
#pragma once

#include <string>

#include "worker/layers/layer.h"

namespace shardline {

struct RmsNorm {
  float eps = 0;

  bool operator==(const RmsNorm&) const = default;
};

class RmsNormLayer {
 public:
  RmsNormLayer(const RmsNorm& spec, int64_t hidden) : spec_(spec), hidden_(hidden) {}

  void Declare(const std::string& name, WeightPlan& plan) {
    plan.Vector(&weight_, {{Cat(name, ".weight"), {{"hidden", hidden_, 0}}}});
  }
  // x, y: [tokens, hidden], may be the same.
  void Forward(const StepContext& step, const View& x, const View& y) const {
    step.ops->rms_norm(step.op, x, weight_, spec_.eps, y);
  }

 private:
  RmsNorm spec_;
  int64_t hidden_;
  View weight_;  // [hidden] f32
};

}  // namespace shardline
