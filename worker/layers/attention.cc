// Attention: one product for queries, keys and values, their bounds, norms of heads, rotation, the
// cache, attention, output product.
#include "worker/layers/attention.h"

#include <cmath>
#include <cstring>

namespace shardline {
namespace {

// to := from, row by row. [rows, n] of one type.
void CopyRows(const View& from, const View& to) {
  for (int64_t i = 0; i < from.shape[0]; ++i) {
    std::memcpy(to.Rows(i, 1).data, from.Rows(i, 1).data, from.shape[1] * SizeOf(from.type));
  }
}

}  // namespace

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
  Axis heads{"heads", spec_.heads * dim, group * dim};
  Axis kv_heads{"kv_heads", spec_.kv_heads * dim, dim};
  const Axis hidden{"hidden", hidden_, 0};
  CutHeads(plan, heads, kv_heads);
  qkv_.Declare(
      {{prefix + ".q", heads, dim}, {prefix + ".k", kv_heads, dim}, {prefix + ".v", kv_heads, dim}},
      hidden, spec_.qkv_bias, plan);
  if (q_norm_) q_norm_->Declare(prefix + ".q_norm", plan, here_.heads);
  if (k_norm_) k_norm_->Declare(prefix + ".k_norm", plan, here_.kv_heads);
  out_.Declare({{prefix + ".o", hidden}}, heads, spec_.out_bias, plan);
}

// This rank's heads, here and on the axes.
void AttentionLayer::CutHeads(WeightPlan& plan, Axis& heads, Axis& kv_heads) {
  here_ = {{0, spec_.heads}, {0, spec_.kv_heads}};
  if (plan.split.ranks > 1) {
    const absl::StatusOr<HeadParts> parts =
        shardline::CutHeads(spec_.heads, spec_.kv_heads, plan.split);
    if (parts.ok()) {
      here_ = *parts;
    } else {
      plan.AddProblem(parts.status());
    }
    const auto scaled = [&](AxisRange part) {
      return AxisRange{part.begin * spec_.head_dim, part.end * spec_.head_dim};
    };
    heads.part = scaled(here_.heads);
    kv_heads.part = scaled(here_.kv_heads);
  }
  heads_ = here_.heads.size();
  kv_heads_ = here_.kv_heads.size();
  owns_keys_ = here_.heads.begin == here_.kv_heads.begin * (spec_.heads / spec_.kv_heads);
  gathers_ = spec_.row_norm.has_value() && plan.split.ranks > 1;
}

std::optional<StateGroup> AttentionLayer::state(DType type) const {
  return StateGroup{.layers = 1,
                    .kv_heads = static_cast<int>(kv_heads_),
                    .all_kv_heads = static_cast<int>(spec_.kv_heads),
                    .head_dim = static_cast<int>(spec_.head_dim),
                    .type = type,
                    .window = spec_.window};
}

AttentionLayer::Buffers AttentionLayer::Take(Workspace& workspace, DType type,
                                             int64_t tokens) const {
  const int64_t dim = spec_.head_dim, all = spec_.heads + spec_.kv_heads;
  return {.qkv = workspace.Take(type, {tokens, (heads_ + 2 * kv_heads_) * dim}),
          .seen = workspace.Take(type, {tokens, heads_ * dim}),
          .rows = gathers_ ? workspace.Take(type, {tokens, all * dim}) : View{}};
}

// Norms over all heads of a token whose heads are on several ranks: every rank puts its columns
// into rows of zeros, the sum of these is the whole row, and every rank norms that. q, k: this
// rank's; rows: [tokens, (all heads + all kv_heads) * head_dim].
absl::Status AttentionLayer::NormWholeRows(const StepContext& step, const View& q, const View& k,
                                           const View& rows) const {
  const int64_t dim = spec_.head_dim;
  const View all_q = rows.Columns(0, spec_.heads * dim);
  const View all_k = rows.Columns(spec_.heads * dim, spec_.kv_heads * dim);
  const View own_q = all_q.Columns(here_.heads.begin * dim, heads_ * dim);
  const View own_k = all_k.Columns(here_.kv_heads.begin * dim, kv_heads_ * dim);
  std::memset(rows.data, 0, rows.bytes());
  CopyRows(q, own_q);
  if (owns_keys_) CopyRows(k, own_k);
  SL_RETURN_IF_ERROR(step.group->AllReduce(rows));
  q_norm_->Forward(step, all_q, all_q);
  k_norm_->Forward(step, all_k, all_k);
  CopyRows(own_q, q);
  CopyRows(own_k, k);
  return absl::OkStatus();
}

absl::Status AttentionLayer::Forward(const StepContext& step, Workspace workspace, const View& x,
                                     const View& y) {
  const int64_t dim = spec_.head_dim, q_size = heads_ * dim, kv_size = kv_heads_ * dim;
  const Buffers buffers = Take(workspace, x.type, step.tokens);
  qkv_.Forward(step, x, buffers.qkv);
  if (spec_.clip > 0) step.ops->clamp(step.op, buffers.qkv, static_cast<float>(spec_.clip));
  const View q_row = buffers.qkv.Columns(0, q_size), k_row = buffers.qkv.Columns(q_size, kv_size);
  const View q = q_row.SplitColumns(heads_, dim), k = k_row.SplitColumns(kv_heads_, dim);
  const View v = buffers.qkv.Columns(q_size + kv_size, kv_size).SplitColumns(kv_heads_, dim);

  if (gathers_) {
    SL_RETURN_IF_ERROR(NormWholeRows(step, q_row, k_row, buffers.rows));
  } else if (q_norm_) {
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
  const float* slopes = alibi.slopes.empty() ? nullptr : alibi.slopes.data() + here_.heads.begin;
  step.ops->attention(step.op, {.q = q,
                                .out = buffers.seen.SplitColumns(heads_, dim),
                                .pages = pages,
                                .rows = group.rows.data(),
                                .row_count = static_cast<int32_t>(group.rows.size()),
                                .scale = static_cast<float>(scale),
                                .window = spec_.window,
                                .score_cap = static_cast<float>(spec_.score_cap),
                                .alibi = {.slopes = slopes,
                                          .scale = static_cast<float>(alibi.scaled ? scale : 1),
                                          .rounded = alibi.rounded}});
  return out_.ForwardReduced(step, buffers.seen, y);
}

}  // namespace shardline
