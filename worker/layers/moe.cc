// The router, then expert after expert over the tokens that chose it, then the shared MLP.
#include "worker/layers/moe.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "worker/layers/mlp.h"

namespace shardline {

MoeLayer::MoeLayer(const Moe& spec, int64_t hidden)
    : spec_(spec), hidden_(hidden), experts_(spec.experts) {
  if (spec.shared) shared_.emplace(*spec.shared, hidden);
}

void MoeLayer::Declare(const std::string& prefix, WeightPlan& plan) {
  const Axis experts{"experts", spec_.experts, 0}, hidden{"hidden", hidden_, 0};
  Axis dealt = experts, inner = FfnAxis(spec_.inner, plan.split);
  if (plan.whole_experts) {
    dealt.granule = 1;
    inner.granule = 0;
  }
  dealt = plan.Cut(dealt);
  inner = plan.Cut(inner);
  own_ = {dealt.begin(), dealt.begin() + dealt.local()};
  inner_ = inner.local();
  router_.Declare({{prefix + ".router", experts}}, hidden, false, plan);
  plan.matrices.back().in_f32 = spec_.router.in_f32;
  if (spec_.router.choice_bias) {
    plan.Vector(&choice_bias_,
                {{.name = prefix + ".choice.bias", .axes = {experts}, .form = VectorForm::kExact}});
  }
  for (int64_t e = 0; e < spec_.experts; ++e) {
    const ExpertPlace place{
        .index = e, .count = spec_.experts, .elsewhere = e < own_.begin || e >= own_.end};
    experts_[e].gate_up.Declare(
        {{prefix + ".expert_gate", inner, 0, place}, {prefix + ".expert_up", inner, 0, place}},
        hidden, false, plan);
    experts_[e].down.Declare({{prefix + ".expert_down", hidden, 0, place}}, inner, false, plan);
  }
  if (!shared_) return;
  shared_->Declare(prefix + ".shared", plan);
  if (spec_.shared_gate) {
    shared_gate_.Declare({{prefix + ".shared_gate", {"gate", 1, 0}}}, hidden, false, plan);
  }
}

MoeLayer::Buffers MoeLayer::Take(Workspace& workspace, DType type, int64_t tokens) const {
  const int64_t choices = tokens * spec_.active;
  return {.scores = workspace.Take(DType::kF32, {tokens, spec_.experts}),
          .ids = workspace.Take(DType::kU32, {tokens, spec_.active}),
          .weights = workspace.Take(DType::kF32, {tokens, spec_.active}),
          .ends = workspace.Take(DType::kU32, {spec_.experts}),
          .rows = workspace.Take(DType::kU32, {choices}),
          .factors = workspace.Take(DType::kF32, {choices}),
          .in = workspace.Take(type, {tokens, hidden_}),
          .out = workspace.Take(type, {tokens, hidden_}),
          .sum = workspace.Take(type, {tokens, hidden_}),
          .gate_up = workspace.Take(type, {tokens, 2 * inner_}),
          .product = workspace.Take(type, {tokens, inner_})};
}

void MoeLayer::Route(const StepContext& step, const View& x, const Buffers& buffers) const {
  const Router& router = spec_.router;
  Routing routing = router.routing;
  if (!router.in_f32) routing.logits = x.type;
  if (!router.weights_f32) routing.weights = x.type;
  router_.Forward(step, x, buffers.scores);
  step.ops->route(step.op, routing, buffers.scores, router.choice_bias ? &choice_bias_ : nullptr,
                  buffers.ids, buffers.weights);
}

// Counts each expert's choices, then puts every choice where its expert's begin; the tokens of an
// expert stay in order.
void MoeLayer::SortByExpert(const Buffers& buffers) const {
  const auto* ids = buffers.ids.as<uint32_t>();
  const auto* weights = buffers.weights.as<float>();
  const int64_t choices = buffers.ids.elements();
  auto* next = buffers.ends.as<uint32_t>();
  std::fill_n(next, spec_.experts, 0);
  for (int64_t i = 0; i < choices; ++i) ++next[ids[i]];
  std::exclusive_scan(next, next + spec_.experts, next, 0u);
  for (int64_t i = 0; i < choices; ++i) {
    const uint32_t at = next[ids[i]]++;
    buffers.rows.as<uint32_t>()[at] = static_cast<uint32_t>(i / spec_.active);
    buffers.factors.as<float>()[at] = weights[i];
  }
}

// One expert over the tokens of the sorted choices [first, first + count).
void MoeLayer::RunExpert(const StepContext& step, const Expert& expert, const View& x,
                         int64_t first, int64_t count, const Buffers& buffers) const {
  const View rows = buffers.rows.Rows(first, count), in = buffers.in.Rows(0, count);
  const View gate_up = buffers.gate_up.Rows(0, count), product = buffers.product.Rows(0, count);
  const View out = buffers.out.Rows(0, count);
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(in.Rows(i, 1).data, x.Rows(rows.as<uint32_t>()[i], 1).data,
                hidden_ * SizeOf(x.type));
  }
  expert.gate_up.Forward(step, in, gate_up);
  step.ops->gated(step.op, spec_.activation, gate_up.Columns(0, inner_),
                  gate_up.Columns(inner_, inner_), product);
  expert.down.Forward(step, product, out);
  step.ops->add_rows(step.op, buffers.sum, rows, buffers.factors.Rows(first, count), out);
}

// The gate is a router with one expert, which every token chooses.
absl::Status MoeLayer::AddShared(const StepContext& step, Workspace workspace, const View& x,
                                 const Buffers& buffers) {
  const View out = buffers.out.Rows(0, step.tokens);
  StepContext partial = step;
  partial.partial = true;
  SL_RETURN_IF_ERROR(shared_->Forward(partial, workspace, x, out));
  if (!spec_.shared_gate) {
    step.ops->add(step.op, buffers.sum, out);
    return absl::OkStatus();
  }
  const auto one = [&](const View& all) {
    return View::Contiguous(all.data, all.type, {step.tokens, 1});
  };
  const View rows = buffers.rows.Rows(0, step.tokens);
  shared_gate_.Forward(step, x, one(buffers.scores));
  step.ops->route(step.op, {.scoring = Scoring::kSigmoid, .logits = x.type, .weights = x.type},
                  one(buffers.scores), nullptr, one(buffers.ids), one(buffers.factors));
  std::iota(rows.as<uint32_t>(), rows.as<uint32_t>() + step.tokens, 0u);
  step.ops->add_rows(step.op, buffers.sum, rows, buffers.factors.Rows(0, step.tokens), out);
  return absl::OkStatus();
}

absl::Status MoeLayer::Forward(const StepContext& step, Workspace workspace, const View& x,
                               const View& y) {
  const Buffers buffers = Take(workspace, x.type, step.tokens);
  Route(step, x, buffers);
  SortByExpert(buffers);
  std::memset(buffers.sum.data, 0, buffers.sum.bytes());
  const auto* ends = buffers.ends.as<uint32_t>();
  for (int64_t e = own_.begin, first = e > 0 ? ends[e - 1] : 0; e < own_.end; ++e) {
    const int64_t end = ends[e];
    if (end > first) RunExpert(step, experts_[e], x, first, end - first, buffers);
    first = end;
  }
  if (shared_) SL_RETURN_IF_ERROR(AddShared(step, workspace, x, buffers));
  for (int64_t t = 0; t < step.tokens; ++t) {
    std::memcpy(y.Rows(t, 1).data, buffers.sum.Rows(t, 1).data, hidden_ * SizeOf(y.type));
  }
  return step.partial ? absl::OkStatus() : step.group->AllReduce(y);
}

}  // namespace shardline
