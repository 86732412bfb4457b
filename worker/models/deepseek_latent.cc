// Latent attention and experts from either kind of configuration.
#include "worker/models/deepseek_latent.h"

#include <algorithm>
#include <cmath>

#include "worker/models/experts.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr int64_t kMostRank = 1 << 13, kMostDim = 1 << 10, kMostInner = 1 << 20;
// The reference classes' norms of latents do not read the configuration's.
constexpr float kLatentEps = 1e-6f;

// YaRN's magnitude goes into the scores' scale by its square.
void ScaleScores(LatentAttention& attention, double mscale_all_dim) {
  const auto* yarn = std::get_if<YarnScaling>(&attention.rope.scaling);
  if (yarn == nullptr || mscale_all_dim == 0) return;
  const double magnitude = YarnMagnitude(yarn->factor, mscale_all_dim);
  const auto dims = static_cast<double>(attention.nope_dim + attention.rope.rot_dim);
  attention.scale = magnitude * magnitude / std::sqrt(dims);
}

LatentAttention LatentFromHf(HfConfig& config, const ModelSpec& spec, const Attention& dense) {
  LatentAttention attention{.heads = dense.heads,
                            .kv_rank = config.Int("kv_lora_rank", 1, kMostRank, 512),
                            .nope_dim = config.Int("qk_nope_head_dim", 1, kMostDim, 128),
                            .value_dim = config.Int("v_head_dim", 1, kMostDim, 128),
                            .bias = config.Bool("attention_bias", false),
                            .latent_norm = {.norm = {kLatentEps}},
                            .rope = RopeFromHf(config, dense.head_dim, spec.context)};
  if (!config.IsNull("q_lora_rank")) {
    attention.q_rank = config.Int("q_lora_rank", 1, kMostRank, 1536);
  }
  if (dense.kv_heads != dense.heads) {
    config.Refuse("num_key_value_heads",
                  Cat(dense.kv_heads, " is not num_attention_heads ", dense.heads));
  }
  const auto mscale = [&](std::string_view key, double fallback) {
    return config.Float(key, 0, kMostFactor, fallback);
  };
  ScaleScores(attention,
              mscale("rope_scaling.mscale_all_dim", mscale("rope_parameters.mscale_all_dim", 0)));
  return attention;
}

Moe ExpertsFromHf(HfConfig& config, const DeepseekDefaults& defaults, const Router& router) {
  constexpr std::string_view kActive = "num_experts_per_tok";
  Moe moe{.experts = config.Int("n_routed_experts", 1, kMostExperts, defaults.experts),
          .active = defaults.active > 0 ? config.Int(kActive, 1, kMostExperts, defaults.active)
                                        : config.Int(kActive, 1, kMostExperts),
          .inner = config.Int("moe_intermediate_size", 1, kMostInner, defaults.expert_inner),
          .router = router};
  moe.router.in_f32 = moe.router.weights_f32 = true;
  moe.router.routing.scale =
      static_cast<float>(config.Float("routed_scaling_factor", 0, kMostFactor, defaults.scale));
  const int64_t shared = config.IsNull("n_shared_experts")
                             ? 0
                             : config.Int("n_shared_experts", 0, kMostExperts, defaults.shared);
  if (shared > 0) moe.shared = Mlp{.inner = shared * moe.inner};
  return moe;
}

LatentAttention LatentFromGguf(GgufConfig& config, const Checkpoint& checkpoint,
                               const ModelSpec& spec, const Attention& dense) {
  const int64_t rotated = config.Int("*.rope.dimension_count", 1, kMostDim);
  const int64_t key = config.Int("*.attention.key_length_mla", 1, kMostDim, dense.head_dim);
  const int64_t value = config.Int("*.attention.value_length", 1, kMostDim, dense.head_dim);
  LatentAttention attention{
      .heads = dense.heads,
      .q_rank = config.Int("*.attention.q_lora_rank", 0, kMostRank, 0),
      .kv_rank = config.Int("*.attention.kv_lora_rank", 1, kMostRank),
      .nope_dim = key - rotated,
      .value_dim = config.Int("*.attention.value_length_mla", 1, kMostDim, value),
      .latent_norm = spec.final_norm,
      .rope = RopeFromGguf(config, checkpoint, rotated, spec.context)};
  if (attention.nope_dim < 1) {
    config.Refuse("*.rope.dimension_count", Cat(rotated, " is not less than the key length ", key));
  }
  const double log_multiplier =
      config.Float("*.rope.scaling.yarn_log_multiplier", 0, kMostFactor, 0);
  if (auto* yarn = std::get_if<YarnScaling>(&attention.rope.scaling);
      yarn != nullptr && log_multiplier != 0) {
    yarn->attention_factor = 1;  // the file's writer knows of no two different mscales
    ScaleScores(attention, log_multiplier * 10);
  }
  return attention;
}

}  // namespace

ModelSpec DeepseekFromHf(HfConfig& config, const DeepseekDefaults& defaults, RopeStyle style,
                         const Router& router) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  ModelSpec spec = DenseFromHf(config, defaults.sizes, {.head_dim = "qk_rope_head_dim"});
  LatentAttention attention = LatentFromHf(config, spec, AttentionOf(spec.blocks[0]));
  attention.rope.style = style;
  spec.blocks[0].mixer = attention;
  Spread(spec);
  PlaceExpertsAfterDense(config, spec, ExpertsFromHf(config, defaults, router),
                         defaults.dense_layers);
  return spec;
}

ModelSpec DeepseekFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint, /*experts=*/true);
  LatentAttention attention = LatentFromGguf(config, checkpoint, spec, AttentionOf(spec.blocks[0]));
  attention.rope.style = RopeStyle::kInterleaved;
  spec.blocks[0].mixer = attention;
  Spread(spec);
  Moe moe{.router = {.routing = {.epsilon = 1e-20f}, .in_f32 = true, .weights_f32 = true},
          .shared = Mlp{}};
  constexpr int64_t kSigmoid = 2;
  if (config.Int("*.expert_gating_func", 0, 1 << 16, 0) == kSigmoid) {
    moe.router.routing.group_score = GroupScore::kSumOfTwoLargest;
    moe.router.choice_bias = std::any_of(
        checkpoint.tensors().begin(), checkpoint.tensors().end(),
        [](const StoredTensor& tensor) { return tensor.name.ends_with(".exp_probs_b.bias"); });
  }
  PlaceExpertsFromGguf(config, spec, moe);
  return spec;
}

NameTable DeepseekHfNames() {
  NameTable names = HfNames("model.");
  const std::string layer = "model.layers.*.", attention = layer + "self_attn.";
  for (const auto& [slot, tensor] : {std::pair{"q_a", "q_a_proj"},
                                     {"q_norm", "q_a_layernorm"},
                                     {"q_b", "q_b_proj"},
                                     {"kv_a", "kv_a_proj_with_mqa"},
                                     {"kv_norm", "kv_a_layernorm"}}) {
    Rename(names, Cat("*.attn.", slot), attention + tensor);
  }
  const std::string both = attention + "kv_b_proj";
  SetRule(names, {.slot = "*.attn.k_b", .joined = both, .fusion = Fusion::kByExpertTransposed});
  SetRule(names, {.slot = "*.attn.v_b", .joined = both, .fusion = Fusion::kByExpert});
  const std::string expert = layer + "mlp.experts.#.";
  ExpertNames(names, layer + "mlp.gate", expert + "gate_proj", expert + "up_proj",
              expert + "down_proj");
  SharedExpertNames(names, layer + "mlp.shared_experts.");
  return names;
}

NameTable DeepseekGgufNames(const Checkpoint&) {
  NameTable names = GgufNames();
  for (const auto& [slot, tensor] : {std::pair{"q_a", "q_a"},
                                     {"q_norm", "q_a_norm"},
                                     {"q_b", "q_b"},
                                     {"kv_a", "kv_a_mqa"},
                                     {"kv_norm", "kv_a_norm"}}) {
    Rename(names, Cat("*.attn.", slot), Cat("blk.*.attn_", tensor));
  }
  SetRule(names, {.slot = "*.attn.k_b",
                  .tensor = "blk.*.attn_k_b",
                  .joined = "blk.*.attn_kv_b",
                  .fusion = Fusion::kByExpertTransposed});
  SetRule(names, {.slot = "*.attn.v_b",
                  .tensor = "blk.*.attn_v_b",
                  .joined = "blk.*.attn_kv_b",
                  .fusion = Fusion::kByExpert});
  return names;
}

}  // namespace shardline
