// Qwen3 with mixtures of experts in most layers. Defaults are those of transformers'
// Qwen3MoeConfig. Source: https://arxiv.org/abs/2505.09388
#include <array>

#include "worker/models/dense.h"
#include "worker/models/experts.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 151936,
                               .hidden = 2048,
                               .inner = 6144,
                               .layers = 24,
                               .heads = 32,
                               .kv_heads = 4,
                               .context = 32768};
constexpr int64_t kMostWindow = int64_t{1} << 30, kMostInner = 1 << 20;

ModelSpec Qwen3MoeFromHf(HfConfig& config) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  ModelSpec spec = DenseFromHf(config, kDefaults);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.qkv_bias = attention.out_bias = config.Bool("attention_bias", false);
  attention.head_norm = spec.final_norm;
  // Some checkpoints (Qwen3-Coder) say so.
  if (!config.Bool("use_qk_norm", true)) config.Refuse("use_qk_norm", "false is not served");
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context);
  if (config.Bool("use_sliding_window", false) && !config.IsNull("sliding_window")) {
    attention.window = config.Int("sliding_window", 1, kMostWindow, 4096);
  }
  Spread(spec);
  // The second name is what transformers 5 writes.
  const std::string_view experts = config.Has("num_experts") ? "num_experts" : "num_local_experts";
  PlaceExpertsBySteps(
      config, spec,
      {.experts = config.Int(experts, 1, kMostExperts, 128),
       .active = config.Int("num_experts_per_tok", 1, kMostExperts, 8),
       .inner = config.Int("moe_intermediate_size", 1, kMostInner, 768),
       .router = {.routing = {.renormalise = config.Bool("norm_topk_prob", false)}}});
  return spec;
}

ModelSpec Qwen3MoeFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint, /*experts=*/true);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.head_norm = spec.final_norm;
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context);
  Spread(spec);
  PlaceExpertsFromGguf(config, spec, {.router = {.routing = {.renormalise = true}}});
  return spec;
}

NameTable Qwen3MoeHfNames(const Checkpoint&) {
  NameTable names = HfNames("model.");
  HeadNormNames(names, "model.layers.*.self_attn.q_norm", "model.layers.*.self_attn.k_norm");
  const std::string expert = "model.layers.*.mlp.experts.#.";
  ExpertNames(names, "model.layers.*.mlp.gate", expert + "gate_proj", expert + "up_proj",
              expert + "down_proj");
  return names;
}

NameTable Qwen3MoeGgufNames(const Checkpoint&) {
  NameTable names = GgufNames(RowOrder::kAsStored);
  HeadNormNames(names, "blk.*.attn_q_norm", "blk.*.attn_k_norm");
  return names;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"Qwen3MoeForCausalLM"};

}  // namespace

const Family& Qwen3MoeFamily() {
  static const Family kFamily{.name = "qwen3_moe",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "qwen3moe",
                              .from_hf = Qwen3MoeFromHf,
                              .from_gguf = Qwen3MoeFromGguf,
                              .hf_names = Qwen3MoeHfNames,
                              .gguf_names = Qwen3MoeGgufNames,
                              .models = "Qwen3 30B-A3B, 235B-A22B"};
  return kFamily;
}

}  // namespace shardline
