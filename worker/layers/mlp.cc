// The MLP: one product for gate and up, their combination, one product down.
#include "worker/layers/mlp.h"

namespace shardline {

void MlpLayer::Declare(const std::string& prefix, WeightPlan& plan) {
  const Axis inner{"ffn", spec_.inner, 1}, hidden{"hidden", hidden_, 0};
  std::vector<Linear::Part> parts = {{prefix + ".up", inner}};
  if (spec_.gated) parts.insert(parts.begin(), {prefix + ".gate", inner});
  gate_up_.Declare(parts, hidden, spec_.bias, plan);
  down_.Declare({{prefix + ".down", hidden}}, inner, spec_.bias, plan);
}

MlpLayer::Buffers MlpLayer::Take(Workspace& workspace, DType type, int64_t tokens) const {
  if (!spec_.gated) {
    const View up = workspace.Take(type, {tokens, spec_.inner});
    return {.gate_up = up, .product = up};
  }
  return {.gate_up = workspace.Take(type, {tokens, 2 * spec_.inner}),
          .product = workspace.Take(type, {tokens, spec_.inner})};
}

void MlpLayer::ForwardPart(const StepContext& step, Workspace workspace, const View& x,
                           const View& y) {
  const Buffers buffers = Take(workspace, x.type, step.tokens);
  gate_up_.Forward(step, x, buffers.gate_up);
  if (spec_.gated) {
    step.ops->gated(step.op, spec_.activation, buffers.gate_up.Columns(0, spec_.inner),
                    buffers.gate_up.Columns(spec_.inner, spec_.inner), buffers.product);
  } else {
    step.ops->activate(step.op, spec_.activation, buffers.product);
  }
  down_.ForwardPart(step, buffers.product, y);
}

absl::Status MlpLayer::Forward(const StepContext& step, Workspace workspace, const View& x,
                               const View& y) {
  ForwardPart(step, workspace, x, y);
  return step.group->AllReduce(y);
}

}  // namespace shardline
