// Latent attention: queries, absorbed head by head; the latent and its rotated key into the cache;
// attention over latents; values head by head; output product.
#include "worker/layers/latent_attention.h"

#include <cmath>

namespace shardline {

LatentAttentionLayer::LatentAttentionLayer(const LatentAttention& spec, int64_t hidden, int rope)
    : spec_(spec),
      hidden_(hidden),
      rot_dim_(spec.rope.rot_dim),
      key_dim_(spec.kv_rank + spec.rope.rot_dim),
      rope_(rope),
      q_norm_(spec.latent_norm, spec.q_rank),
      kv_norm_(spec.latent_norm, spec.kv_rank) {}

void LatentAttentionLayer::Declare(const std::string& prefix, WeightPlan& plan) {
  const int64_t q_dim = spec_.nope_dim + rot_dim_;
  const Axis hidden{"hidden", hidden_, 0}, latent{"kv_latent", spec_.kv_rank, 0};
  const Axis queries = plan.Cut({"heads", spec_.heads * q_dim, q_dim});
  const int64_t first = queries.begin() / q_dim;
  heads_ = queries.local() / q_dim;
  k_b_.resize(heads_);
  v_b_.resize(heads_);
  if (spec_.q_rank > 0) {
    const Axis q_latent{"q_latent", spec_.q_rank, 0};
    q_a_.Declare({{prefix + ".q_a", q_latent}}, hidden, spec_.bias, plan);
    q_norm_.Declare(prefix + ".q_norm", plan);
    q_b_.Declare({{prefix + ".q_b", queries, q_dim}}, q_latent, false, plan);
  } else {
    q_b_.Declare({{prefix + ".q", queries, q_dim}}, hidden, false, plan);
  }
  kv_a_.Declare({{prefix + ".kv_a", {"kv_latent_and_key", key_dim_, 0}}}, hidden, spec_.bias, plan);
  kv_norm_.Declare(prefix + ".kv_norm", plan);
  const Axis nope{"nope", spec_.nope_dim, 0}, value{"value", spec_.value_dim, 0};
  for (int64_t h = 0; h < spec_.heads; ++h) {
    const bool own = h >= first && h < first + heads_;
    ExpertPlace place{.index = h,
                      .count = spec_.heads,
                      .rows = spec_.nope_dim + spec_.value_dim,
                      .elsewhere = !own};
    plan.Matrix(own ? &k_b_[h - first] : nullptr,
                {{.name = prefix + ".k_b.weight", .axes = {latent, nope}, .expert = place}});
    place.first = spec_.nope_dim;
    plan.Matrix(own ? &v_b_[h - first] : nullptr,
                {{.name = prefix + ".v_b.weight", .axes = {value, latent}, .expert = place}});
  }
  const Axis values = plan.Cut({"heads", spec_.heads * spec_.value_dim, spec_.value_dim});
  out_.Declare({{prefix + ".o", hidden}}, values, spec_.bias, plan);
}

std::optional<StateGroup> LatentAttentionLayer::state(DType type) const {
  return StateGroup{.layers = 1,
                    .kv_heads = 1,
                    .all_kv_heads = 1,
                    .head_dim = static_cast<int>(key_dim_),
                    .type = type,
                    .shared_values = static_cast<int>(spec_.kv_rank)};
}

LatentAttentionLayer::Buffers LatentAttentionLayer::Take(Workspace& workspace, DType type,
                                                         int64_t tokens) const {
  const int64_t heads = heads_;
  return {.q_latent = workspace.Take(type, {tokens, spec_.q_rank}),
          .q = workspace.Take(type, {tokens, heads * (spec_.nope_dim + rot_dim_)}),
          .key = workspace.Take(type, {tokens, key_dim_}),
          .absorbed = workspace.Take(type, {tokens, heads, key_dim_}),
          .latents = workspace.Take(type, {tokens, heads, spec_.kv_rank}),
          .seen = workspace.Take(type, {tokens, heads * spec_.value_dim})};
}

void LatentAttentionLayer::MakeQueries(const StepContext& step, const View& x,
                                       const Buffers& buffers) const {
  if (spec_.q_rank > 0) {
    q_a_.Forward(step, x, buffers.q_latent);
    q_norm_.Forward(step, buffers.q_latent, buffers.q_latent);
  }
  q_b_.Forward(step, spec_.q_rank > 0 ? buffers.q_latent : x, buffers.q);
  const View q = buffers.q.SplitColumns(heads_, spec_.nope_dim + rot_dim_);
  const View rotated = buffers.absorbed.Columns(spec_.kv_rank, rot_dim_);
  step.ops->matmul_heads(step.op, q.Columns(0, spec_.nope_dim), k_b_.data(),
                         buffers.absorbed.Columns(0, spec_.kv_rank));
  step.ops->copy(step.op, q.Columns(spec_.nope_dim, rot_dim_), rotated);
  const RopeStep& rope = step.ropes[rope_];
  step.ops->rope(step.op, rotated, rope.cos, rope.sin, spec_.rope.style);
}

void LatentAttentionLayer::MakeKeys(const StepContext& step, const View& x, const View& key) const {
  kv_a_.Forward(step, x, key);
  const View latent = key.Columns(0, spec_.kv_rank);
  kv_norm_.Forward(step, latent, latent);
  const RopeStep& rope = step.ropes[rope_];
  step.ops->rope(step.op, key.SplitColumns(1, key_dim_).Columns(spec_.kv_rank, rot_dim_), rope.cos,
                 rope.sin, spec_.rope.style);
}

absl::Status LatentAttentionLayer::Forward(const StepContext& step, Workspace workspace,
                                           const View& x, const View& y) {
  const Buffers buffers = Take(workspace, x.type, step.tokens);
  MakeQueries(step, x, buffers);
  MakeKeys(step, x, buffers.key);

  const GroupStep& group = step.groups[place_.group];
  const KvPages pages = step.state->pages(place_.group, place_.layer);
  step.ops->kv_write(step.op, buffers.key.SplitColumns(1, key_dim_), View{}, group.slots, pages);
  const double scale = spec_.scale > 0 ? spec_.scale : 1 / std::sqrt(spec_.nope_dim + rot_dim_);
  step.ops->attention(step.op, {.q = buffers.absorbed,
                                .out = buffers.latents,
                                .pages = pages,
                                .rows = group.rows.data(),
                                .row_count = static_cast<int32_t>(group.rows.size()),
                                .scale = static_cast<float>(scale)});
  step.ops->matmul_heads(step.op, buffers.latents, v_b_.data(),
                         buffers.seen.SplitColumns(heads_, spec_.value_dim));
  return out_.ForwardReduced(step, buffers.seen, y);
}

}  // namespace shardline
