// One product with the weights of one or more slots that share an input: {q, k, v}, {gate, up},
// {o}.
#pragma once

#include <string>
#include <vector>

#include "worker/layers/layer.h"

namespace shardline {

class Linear {
 public:
  // One output of the product: slot "<name>.weight" [out, in], and "<name>.bias" [out] with `bias`.
  struct Part {
    std::string name;
    Axis out;
    int64_t head_dim = 0;
    ExpertPlace expert = {};
  };

  void Declare(const std::vector<Part>& parts, const Axis& in, bool bias, WeightPlan& plan) {
    std::vector<WeightSlot> weights, biases;
    for (const Part& part : parts) {
      weights.push_back({.name = Cat(part.name, ".weight"),
                         .axes = {part.out, in},
                         .head_dim = part.head_dim,
                         .expert = part.expert});
      biases.push_back({.name = Cat(part.name, ".bias"),
                        .axes = {part.out},
                        .head_dim = part.head_dim,
                        .expert = part.expert});
    }
    plan.Matrix(&weight_, std::move(weights));
    has_bias_ = bias;
    if (bias) plan.Vector(&bias_, std::move(biases));
  }

  // y[tokens, out] = x[tokens, in] · wᵀ + bias
  void Forward(const StepContext& step, const View& x, const View& y) const {
    step.ops->matmul(step.op, x, weight_, has_bias_ ? &bias_ : nullptr, y);
  }
  // The same where the input axis is cut: every rank has a part of the sum, and the bias is added
  // once. With StepContext::partial the parts are left to the caller to sum.
  absl::Status ForwardReduced(const StepContext& step, const View& x, const View& y) const {
    const bool adds_bias = has_bias_ && step.group->rank() == 0;
    step.ops->matmul(step.op, x, weight_, adds_bias ? &bias_ : nullptr, y);
    return step.partial ? absl::OkStatus() : step.group->AllReduce(y);
  }

 private:
  Packed weight_;
  View bias_;  // [out] f32
  bool has_bias_ = false;
};

}  // namespace shardline
