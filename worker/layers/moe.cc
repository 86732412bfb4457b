// The router, then expert after expert over the tokens that chose it.
#include "worker/layers/moe.h"

#include <cstring>

#include "worker/layers/mlp.h"

namespace shardline {

void MoeLayer::Declare(const std::string& prefix, WeightPlan& plan) {
  const Axis inner = plan.Cut(FfnAxis(spec_.inner, plan.split)), hidden{"hidden", hidden_, 0};
  inner_ = inner.local();
  router_.Declare({{prefix + ".router", {"experts", spec_.experts, 0}}}, hidden, false, plan);
  for (int64_t e = 0; e < spec_.experts; ++e) {
    const ExpertPlace place{e, spec_.experts};
    experts_[e].gate_up.Declare(
        {{prefix + ".expert_gate", inner, 0, place}, {prefix + ".expert_up", inner, 0, place}},
        hidden, false, plan);
    experts_[e].down.Declare({{prefix + ".expert_down", hidden, 0, place}}, inner, false, plan);
  }
}

MoeLayer::Buffers MoeLayer::Take(Workspace& workspace, DType type, int64_t tokens) const {
  return {.scores = workspace.Take(DType::kF32, {tokens, spec_.experts}),
          .ids = workspace.Take(DType::kU32, {tokens, spec_.active}),
          .weights = workspace.Take(DType::kF32, {tokens, spec_.active}),
          .rows = workspace.Take(DType::kU32, {tokens}),
          .factors = workspace.Take(DType::kF32, {tokens}),
          .in = workspace.Take(type, {tokens, hidden_}),
          .out = workspace.Take(type, {tokens, hidden_}),
          .sum = workspace.Take(type, {tokens, hidden_}),
          .gate_up = workspace.Take(type, {tokens, 2 * inner_}),
          .product = workspace.Take(type, {tokens, inner_})};
}

// The tokens that chose `expert`, in order: their number, their factors, and copies of their rows.
int64_t MoeLayer::GatherRows(const Buffers& buffers, uint32_t expert, const View& x) const {
  const auto* ids = buffers.ids.as<uint32_t>();
  const auto* weights = buffers.weights.as<float>();
  int64_t count = 0;
  for (int64_t i = 0; i < x.shape[0] * spec_.active; ++i) {
    if (ids[i] != expert) continue;
    const int64_t token = i / spec_.active;
    buffers.rows.as<uint32_t>()[count] = static_cast<uint32_t>(token);
    buffers.factors.as<float>()[count] = weights[i];
    std::memcpy(buffers.in.Rows(count, 1).data, x.Rows(token, 1).data, hidden_ * SizeOf(x.type));
    ++count;
  }
  return count;
}

absl::Status MoeLayer::Forward(const StepContext& step, Workspace workspace, const View& x,
                               const View& y) {
  const Buffers buffers = Take(workspace, x.type, step.tokens);
  router_.Forward(step, x, buffers.scores);
  step.ops->route(step.op, buffers.scores, spec_.renormalise, buffers.ids, buffers.weights);
  std::memset(buffers.sum.data, 0, buffers.sum.bytes());
  for (int64_t e = 0; e < spec_.experts; ++e) {
    const int64_t count = GatherRows(buffers, static_cast<uint32_t>(e), x);
    if (count == 0) continue;
    const View gate_up = buffers.gate_up.Rows(0, count), product = buffers.product.Rows(0, count);
    const View out = buffers.out.Rows(0, count);
    experts_[e].gate_up.Forward(step, buffers.in.Rows(0, count), gate_up);
    step.ops->gated(step.op, spec_.activation, gate_up.Columns(0, inner_),
                    gate_up.Columns(inner_, inner_), product);
    experts_[e].down.Forward(step, product, out);
    step.ops->add_rows(step.op, buffers.sum, buffers.rows.Rows(0, count),
                       buffers.factors.Rows(0, count), out);
  }
  for (int64_t t = 0; t < step.tokens; ++t) {
    std::memcpy(y.Rows(t, 1).data, buffers.sum.Rows(t, 1).data, hidden_ * SizeOf(y.type));
  }
  return step.partial ? absl::OkStatus() : step.group->AllReduce(y);
}

}  // namespace shardline
