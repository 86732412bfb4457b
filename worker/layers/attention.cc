// Attention: one product for queries, keys and values, their bounds, norms of heads, rotation, the
// cache, attention, output product.
#include "worker/layers/attention.h"

#include <cmath>

namespace shardline {

AttentionLayer::AttentionLayer(const Attention& spec, int64_t hidden, int rope)
    : spec_(spec), hidden_(hidden), rope_(rope) {
  if (spec_.head_norm) {
    const bool each = spec_.norm_per_head;
    q_norm_.emplace(*spec_.head_norm, spec_.head_dim, each ? spec_.heads : 0);
    k_norm_.emplace(*spec_.head_norm, spec_.head_dim, each ? spec_.kv_heads : 0);
  } else if (spec_.row_norm) {
    q_norm_.emplace(*spec_.row_norm, spec_.heads * spec_.head_dim);
    k_norm_.emplace(*spec_.row_norm, spec_.kv_heads * spec_.head_dim);
  }
}

void AttentionLayer::Declare(const std::string& prefix, WeightPlan& plan) {
  const int64_t dim = spec_.head_dim, group = spec_.heads / spec_.kv_heads;
  // One kv head and the query heads that read it stay on one rank.
  const Axis heads{"heads", spec_.heads * dim, group * dim};
  const Axis kv_heads{"kv_heads", spec_.kv_heads * dim, dim};
  const Axis hidden{"hidden", hidden_, 0};
  qkv_.Declare(
      {{prefix + ".q", heads, dim}, {prefix + ".k", kv_heads, dim}, {prefix + ".v", kv_heads, dim}},
      hidden, spec_.qkv_bias, plan);
  if (q_norm_) q_norm_->Declare(prefix + ".q_norm", plan);
  if (k_norm_) k_norm_->Declare(prefix + ".k_norm", plan);
  out_.Declare({{prefix + ".o", hidden}}, heads, spec_.out_bias, plan);
}

std::optional<StateGroup> AttentionLayer::state(DType type) const {
  return StateGroup{.layers = 1,
                    .kv_heads = static_cast<int>(spec_.kv_heads),
                    .head_dim = static_cast<int>(spec_.head_dim),
                    .type = type,
                    .window = spec_.window};
}

AttentionLayer::Buffers AttentionLayer::Take(Workspace& workspace, DType type,
                                             int64_t tokens) const {
  return {
      .qkv = workspace.Take(type, {tokens, (spec_.heads + 2 * spec_.kv_heads) * spec_.head_dim}),
      .seen = workspace.Take(type, {tokens, spec_.heads * spec_.head_dim})};
}

absl::Status AttentionLayer::Forward(const StepContext& step, Workspace workspace, const View& x,
                                     const View& y) {
  const int64_t dim = spec_.head_dim, q_size = spec_.heads * dim, kv_size = spec_.kv_heads * dim;
  const Buffers buffers = Take(workspace, x.type, step.tokens);
  qkv_.Forward(step, x, buffers.qkv);
  if (spec_.clip > 0) step.ops->clamp(step.op, buffers.qkv, static_cast<float>(spec_.clip));
  const View q_row = buffers.qkv.Columns(0, q_size), k_row = buffers.qkv.Columns(q_size, kv_size);
  const View q = q_row.SplitColumns(spec_.heads, dim), k = k_row.SplitColumns(spec_.kv_heads, dim);
  const View v = buffers.qkv.Columns(q_size + kv_size, kv_size).SplitColumns(spec_.kv_heads, dim);

  if (q_norm_) {
    const bool heads = spec_.head_norm.has_value();
    q_norm_->Forward(step, heads ? q : q_row, heads ? q : q_row);
    k_norm_->Forward(step, heads ? k : k_row, heads ? k : k_row);
  }
  if (spec_.rope.rot_dim > 0) {
    const RopeStep& rope = step.ropes[rope_];
    step.ops->rope(step.op, q, rope.cos, rope.sin, spec_.rope.style);
    step.ops->rope(step.op, k, rope.cos, rope.sin, spec_.rope.style);
  }

  const GroupStep& group = step.groups[place_.group];
  const KvPages pages = step.state->pages(place_.group, place_.layer);
  step.ops->kv_write(step.op, k, v, group.slots, pages);
  const double scale = spec_.scale > 0 ? spec_.scale : 1.0 / std::sqrt(double(dim));
  const AlibiSpec& alibi = spec_.alibi;
  step.ops->attention(step.op,
                      {.q = q,
                       .out = buffers.seen.SplitColumns(spec_.heads, dim),
                       .pages = pages,
                       .rows = group.rows.data(),
                       .row_count = static_cast<int32_t>(group.rows.size()),
                       .scale = static_cast<float>(scale),
                       .window = spec_.window,
                       .score_cap = static_cast<float>(spec_.score_cap),
                       .alibi = {.slopes = alibi.slopes.empty() ? nullptr : alibi.slopes.data(),
                                 .scale = static_cast<float>(alibi.scaled ? scale : 1),
                                 .rounded = alibi.rounded}});
  return out_.ForwardReduced(step, buffers.seen, y);
}

}  // namespace shardline
