// Mixtures from either kind of configuration. Counts that do not fit each other are ValidateSpec's.
#include "worker/models/experts.h"

#include <algorithm>

#include "worker/models/dense.h"

namespace shardline {
namespace {

constexpr int64_t kMostInner = 1 << 20, kMostLayer = 1 << 16;

Scoring ScoringFromGguf(GgufConfig& config, Scoring fallback) {
  constexpr std::string_view kKey = "*.expert_gating_func";
  switch (config.Int(kKey, 0, kMostLayer, 0)) {
    case 0:
      return fallback;
    case 1:
      return Scoring::kSoftmax;
    case 2:
      return Scoring::kSigmoid;
    default:
      config.Refuse(kKey, "is neither 1, softmax, nor 2, sigmoid");
      return fallback;
  }
}

Routing RoutingFromGguf(GgufConfig& config, Routing routing) {
  routing.scoring = ScoringFromGguf(config, routing.scoring);
  routing.renormalise = config.Bool("*.expert_weights_norm", routing.renormalise);
  const double scale = config.Float("*.expert_weights_scale", 0, kMostFactor, routing.scale);
  if (scale != 0) routing.scale = static_cast<float>(scale);  // files that have no scale say 0
  routing.groups = std::max<int64_t>(1, config.Int("*.expert_group_count", 0, kMostExperts, 0));
  routing.active_groups = config.Int("*.expert_group_used_count", 0, kMostExperts, routing.groups);
  if (routing.active_groups == 0) routing.active_groups = routing.groups;
  return routing;
}

}  // namespace

void PlaceExperts(ModelSpec& spec, const Moe& moe, const std::function<bool(int64_t)>& sparse) {
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    if (sparse(static_cast<int64_t>(i))) spec.blocks[i].ffn = moe;
  }
}

void PlaceExpertsBySteps(HfConfig& config, ModelSpec& spec, const Moe& moe) {
  const int64_t step = config.Int("decoder_sparse_step", 1, kMostLayer, 1);
  const std::vector<double> dense = config.Floats("mlp_only_layers");
  PlaceExperts(spec, moe, [&](int64_t i) {
    return (i + 1) % step == 0 && std::find(dense.begin(), dense.end(), i) == dense.end();
  });
}

void PlaceExpertsAfterDense(HfConfig& config, ModelSpec& spec, const Moe& moe,
                            int64_t dense_layers) {
  const int64_t first = config.Int("first_k_dense_replace", 0, kMostLayer, dense_layers);
  const int64_t step = config.Int("moe_layer_freq", 1, kMostLayer, 1);
  PlaceExperts(spec, moe, [&](int64_t i) { return i >= first && i % step == 0; });
}

void PlaceExpertsFromGguf(GgufConfig& config, ModelSpec& spec, Moe moe) {
  moe.experts = config.Int("*.expert_count", 0, kMostExperts, 0);
  if (moe.experts == 0) return;
  moe.active = config.Int("*.expert_used_count", 1, kMostExperts);
  const int64_t inner = moe.inner > 0 ? moe.inner : MlpOf(spec.blocks[0]).inner;
  moe.inner = config.Int("*.expert_feed_forward_length", 1, kMostInner, inner);
  moe.router.routing = RoutingFromGguf(config, moe.router.routing);

  const int64_t shared = config.Int("*.expert_shared_count", 0, kMostExperts, 0);
  const int64_t unstated = shared == 0 && moe.shared ? moe.shared->inner : shared * moe.inner;
  const int64_t shared_inner =
      config.Int("*.expert_shared_feed_forward_length", 0, kMostInner, unstated);
  if (!moe.shared && shared_inner > 0) {
    config.Refuse(shared > 0 ? "*.expert_shared_count" : "*.expert_shared_feed_forward_length",
                  "is not 0: this architecture's shared experts are not served");
  }
  moe.shared = shared_inner > 0 ? std::optional<Mlp>({.inner = shared_inner}) : std::nullopt;
  const int64_t dense = config.Int("*.leading_dense_block_count", 0, kMostLayer, 0);
  PlaceExperts(spec, moe, [&](int64_t i) { return i >= dense; });
}

void SharedExpertNames(NameTable& names, const std::string& stem) {
  SetRule(names, {"*.mlp.shared.gate", stem + "gate_proj"});
  SetRule(names, {"*.mlp.shared.up", stem + "up_proj"});
  SetRule(names, {"*.mlp.shared.down", stem + "down_proj"});
}

}  // namespace shardline
