// Products over all tokens of the step; between them convolution and scan, sequence by sequence.
#include "worker/layers/mamba.h"

#include <algorithm>

namespace shardline {

MambaLayer::MambaLayer(const Mamba& spec, int64_t hidden)
    : spec_(spec), hidden_(hidden), inner_(spec.inner) {
  if (spec_.part_norm) ones_.assign(std::max(spec_.dt_rank, spec_.state), 1.0f);
}

// A channel is computed on one rank from its input to its gate; what selects is a sum over all.
void MambaLayer::Declare(const std::string& prefix, WeightPlan& plan) {
  const Axis inner = plan.Cut({"inner", spec_.inner, 1}), hidden{"hidden", hidden_, 0};
  const Axis rank{"dt_rank", spec_.dt_rank, 0}, state{"state", spec_.state, 0};
  inner_ = inner.local();
  in_.Declare({{prefix + ".x", inner}, {prefix + ".gate", inner}}, hidden, spec_.bias, plan);
  plan.Vector(&conv_,
              {{.name = prefix + ".conv.weight", .axes = {inner, {"taps", spec_.taps, 0}}}});
  if (spec_.conv_bias) {
    plan.Vector(&conv_bias_, {{.name = prefix + ".conv.bias", .axes = {inner}}});
  }
  select_.Declare({{prefix + ".select", {"dt_b_c", spec_.dt_rank + 2 * spec_.state, 0}}}, inner,
                  false, plan);
  dt_.Declare({{prefix + ".dt", inner}}, rank, false, plan);
  plan.Vector(&dt_bias_, {{.name = prefix + ".dt.bias", .axes = {inner}}});
  plan.Vector(&a_, {{.name = prefix + ".a.weight", .axes = {inner, state}, .form = spec_.a_form}});
  plan.Vector(&d_, {{.name = prefix + ".d.weight", .axes = {inner}, .form = VectorForm::kExact}});
  out_.Declare({{prefix + ".o", hidden}}, inner, spec_.bias, plan);
}

std::optional<StateGroup> MambaLayer::state(DType type) const {
  return StateGroup{.layers = 1,
                    .parts = {{type, spec_.taps - 1, inner_}, {DType::kF32, spec_.state, inner_}}};
}

MambaLayer::Buffers MambaLayer::Take(Workspace& workspace, DType type, int64_t tokens) const {
  return {.both = workspace.Take(type, {tokens, 2 * inner_}),
          .channels = workspace.Take(type, {tokens, inner_}),
          .selective = workspace.Take(type, {tokens, spec_.dt_rank + 2 * spec_.state})};
}

absl::Status MambaLayer::Forward(const StepContext& step, Workspace workspace, const View& x,
                                 const View& y) {
  const Buffers buffers = Take(workspace, x.type, step.tokens);
  const View first = buffers.both.Columns(0, inner_);
  const View dt = buffers.selective.Columns(0, spec_.dt_rank);
  const View b = buffers.selective.Columns(spec_.dt_rank, spec_.state);
  const View c = buffers.selective.Columns(spec_.dt_rank + spec_.state, spec_.state);
  const std::vector<AttentionRow>& rows = step.groups[place_.group].rows;
  const auto state = [&](Part part) { return step.state->part(place_.group, place_.layer, part); };

  in_.Forward(step, x, buffers.both);
  step.ops->conv(step.op, {.x = first,
                           .weight = conv_,
                           .bias = spec_.conv_bias ? &conv_bias_ : nullptr,
                           .taps = spec_.taps,
                           .state = state(kConvState),
                           .rows = rows.data(),
                           .row_count = static_cast<int32_t>(rows.size()),
                           .y = buffers.channels});
  StepContext whole = step;  // every rank's channels are selected by all of them
  whole.partial = false;
  SL_RETURN_IF_ERROR(select_.ForwardReduced(whole, buffers.channels, buffers.selective));
  for (const View& part : {dt, b, c}) {
    if (!spec_.part_norm) break;
    const auto size = part.shape[1];
    const View ones = View::Contiguous(ones_.data(), DType::kF32, {size});
    step.ops->rms_norm(step.op, part, ones, {*spec_.part_norm, NormRounding::kOnce}, part);
  }
  dt_.Forward(step, dt, first);
  step.ops->scan(step.op, {.x = buffers.channels,
                           .dt = first,
                           .gate = buffers.both.Columns(inner_, inner_),
                           .b = b,
                           .c = c,
                           .a = View::Contiguous(a_.data, DType::kF32, {inner_, spec_.state}),
                           .d = d_,
                           .dt_bias = dt_bias_,
                           .state = state(kScanState),
                           .rows = rows.data(),
                           .row_count = static_cast<int32_t>(rows.size()),
                           .y = buffers.channels});
  return out_.ForwardReduced(step, buffers.channels, y);
}

}  // namespace shardline
