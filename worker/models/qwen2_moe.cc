// Qwen1.5-MoE and Qwen2-MoE: Qwen2 with a mixture of experts in most layers, and beside it a shared
// MLP with a gate of its own. Defaults are those of transformers' Qwen2MoeConfig.
// Source: https://arxiv.org/abs/2407.10671
#include <array>

#include "worker/models/dense.h"
#include "worker/models/experts.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 151936,
                               .hidden = 2048,
                               .inner = 5632,
                               .layers = 24,
                               .heads = 16,
                               .kv_heads = 16,
                               .context = 32768};
constexpr int64_t kMostInner = 1 << 20;

// Every other one of the first layers: another rule than Qwen2's.
bool Slides(int64_t layer, int64_t windowed_layers) {
  return layer % 2 == 0 && layer < windowed_layers;
}

ModelSpec Qwen2MoeFromHf(HfConfig& config) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  ModelSpec spec = DenseFromHf(config, kDefaults);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.qkv_bias = config.Bool("qkv_bias", true);
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context);
  Spread(spec);
  AddWindows(config, spec, Slides);
  PlaceExpertsBySteps(
      config, spec,
      {.experts = config.Int("num_experts", 1, kMostExperts, 60),
       .active = config.Int("num_experts_per_tok", 1, kMostExperts, 4),
       .inner = config.Int("moe_intermediate_size", 1, kMostInner, 1408),
       .router = {.routing = {.renormalise = config.Bool("norm_topk_prob", false)}},
       .shared = Mlp{.inner = config.Int("shared_expert_intermediate_size", 1, kMostInner, 5632)},
       .shared_gate = true});
  return spec;
}

// The first files tell no sizes of experts: all that a token chooses are as wide as the dense MLP
// that they stand for, and so is the shared one.
ModelSpec Qwen2MoeFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint, /*experts=*/true);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context);
  const int64_t inner = MlpOf(spec.blocks[0]).inner;
  Spread(spec);
  PlaceExpertsFromGguf(config, spec,
                       {.inner = inner / config.Int("*.expert_used_count", 1, kMostExperts, 1),
                        .shared = Mlp{.inner = inner},
                        .shared_gate = true});
  return spec;
}

NameTable Qwen2MoeHfNames(const Checkpoint&) {
  NameTable names = HfNames("model.");
  const std::string mlp = "model.layers.*.mlp.", expert = mlp + "experts.#.";
  ExpertNames(names, mlp + "gate", expert + "gate_proj", expert + "up_proj", expert + "down_proj");
  SharedExpertNames(names, mlp + "shared_expert.");
  SetRule(names, {"*.mlp.shared_gate", mlp + "shared_expert_gate"});
  return names;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"Qwen2MoeForCausalLM"};

}  // namespace

const Family& Qwen2MoeFamily() {
  static const Family kFamily{
      .name = "qwen2_moe",
      .hf_architectures = kArchitectures,
      .gguf_architecture = "qwen2moe",
      .from_hf = Qwen2MoeFromHf,
      .from_gguf = Qwen2MoeFromGguf,
      .hf_names = Qwen2MoeHfNames,
      .gguf_names = [](const Checkpoint&) { return GgufNames(RowOrder::kAsStored); },
      .models = "Qwen1.5-MoE, Qwen2 57B-A14B"};
  return kFamily;
}

}  // namespace shardline
