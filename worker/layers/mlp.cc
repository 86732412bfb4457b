// The MLP: one product for gate and up, their combination, one product down.
#include "worker/layers/mlp.h"

namespace shardline {

Axis FfnAxis(int64_t inner, Split split) {
  constexpr int64_t kQuantisedBlock = 32;
  return {"ffn", inner, inner >= kQuantisedBlock * split.ranks ? kQuantisedBlock : 1};
}

void MlpLayer::Declare(const std::string& prefix, WeightPlan& plan) {
  const Axis inner = plan.Cut(FfnAxis(spec_.inner, plan.split)), hidden{"hidden", hidden_, 0};
  inner_ = inner.local();
  std::vector<Linear::Part> parts = {{prefix + ".up", inner}};
  if (spec_.gated) parts.insert(parts.begin(), {prefix + ".gate", inner});
  gate_up_.Declare(parts, hidden, spec_.bias, plan);
  down_.Declare({{prefix + ".down", hidden}}, inner, spec_.bias, plan);
}

MlpLayer::Buffers MlpLayer::Take(Workspace& workspace, DType type, int64_t tokens) const {
  if (!spec_.gated) {
    const View up = workspace.Take(type, {tokens, inner_});
    return {.gate_up = up, .product = up};
  }
  return {.gate_up = workspace.Take(type, {tokens, 2 * inner_}),
          .product = workspace.Take(type, {tokens, inner_})};
}

absl::Status MlpLayer::Forward(const StepContext& step, Workspace workspace, const View& x,
                               const View& y) {
  const Buffers buffers = Take(workspace, x.type, step.tokens);
  gate_up_.Forward(step, x, buffers.gate_up);
  if (spec_.gated) {
    step.ops->gated(step.op, spec_.activation, buffers.gate_up.Columns(0, inner_),
                    buffers.gate_up.Columns(inner_, inner_), buffers.product);
  } else {
    step.ops->activate(step.op, spec_.activation, buffers.product);
  }
  return down_.ForwardReduced(step, buffers.product, y);
}

}  // namespace shardline
