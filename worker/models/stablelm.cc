// StableLM: Llama with LayerNorm and heads that rotate in part; biases of queries, keys and values
// (2-1.6B); a norm for every single head, and attention and MLP side by side (2-12B). Defaults are
// those of transformers' StableLmConfig. Source: https://arxiv.org/abs/2402.17834
#include <array>

#include "worker/models/dense.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 50304,
                               .hidden = 2560,
                               .inner = 6912,
                               .layers = 32,
                               .heads = 32,
                               .kv_heads = 32,
                               .context = 4096,
                               .norm_eps = 1e-5};

void NormHeads(ModelSpec& spec) {
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.head_norm = spec.final_norm;
  attention.head_norm->has_bias = false;
  attention.norm_per_head = true;
}

ModelSpec StablelmFromHf(HfConfig& config) {
  const bool old = config.Has("norm_eps") && !config.Has("layer_norm_eps");
  ModelSpec spec =
      DenseFromHf(config, kDefaults, {.norm_eps = old ? "norm_eps" : "layer_norm_eps"});
  UseLayerNorm(spec, true, true);
  if (config.Float("rotary_scaling_factor", 1) != 1) {
    config.Refuse("rotary_scaling_factor", "is not 1");
  }
  Attention& attention = AttentionOf(spec.blocks[0]);
  MlpOf(spec.blocks[0]).activation = ActivationFromHf(config, "hidden_act", "silu");
  attention.qkv_bias = config.Bool("use_qkv_bias", false);
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context,
                              {.partial = config.Float("rope_pct", kLeastFactor, 1, 0.25)});
  if (config.Bool("qk_layernorm", false)) NormHeads(spec);
  if (config.Bool("use_parallel_residual", false)) spec.blocks[0].residual = Residual::kParallel;
  Spread(spec);
  return spec;
}

// Which of them it is shows in the tensors.
ModelSpec StablelmFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  UseLayerNorm(spec, true, true);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context, true);
  if (checkpoint.Find("blk.0.attn_q_norm.weight") != nullptr) NormHeads(spec);
  if (checkpoint.Find("blk.0.ffn_norm.weight") == nullptr) {
    spec.blocks[0].residual = Residual::kParallel;
  }
  Spread(spec);
  return spec;
}

NameTable StablelmHfNames(const Checkpoint&) {
  NameTable names = HfNames("model.");
  Rename(names, "*.attn.q_norm.*", "model.layers.*.self_attn.q_layernorm.norms.*");
  Rename(names, "*.attn.k_norm.*", "model.layers.*.self_attn.k_layernorm.norms.*");
  return names;
}

NameTable StablelmGgufNames(const Checkpoint& checkpoint) {
  NameTable names = GgufNames();
  for (const char* part : {"q_norm", "k_norm"}) {
    names.rules.push_back({.slot = Cat("*.attn.", part, ".*"),
                           .tensor = Cat("blk.*.attn_", part),
                           .fusion = Fusion::kStacked});
  }
  return names;
}

// The second is the name that files had before transformers had the class; the keys rope_pct and
// norm_eps are theirs.
constexpr std::array<std::string_view, 2> kArchitectures = {"StableLmForCausalLM",
                                                            "StableLMEpochForCausalLM"};

}  // namespace

const Family& StablelmFamily() {
  static const Family kFamily{.name = "stablelm",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "stablelm",
                              .from_hf = StablelmFromHf,
                              .from_gguf = StablelmFromGguf,
                              .hf_names = StablelmHfNames,
                              .gguf_names = StablelmGgufNames,
                              .models = "StableLM 3B, 2-1.6B, 2-12B"};
  return kFamily;
}

}  // namespace shardline
