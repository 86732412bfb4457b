// GLM-4-9B in transformers' own layout, and GLM-4-0414, which has norms on both sides of every
// part: Llama with biases of queries, keys and values, a fused MLP, and a rotation of neighbouring
// dimensions in a part of a head. Defaults are those of transformers' GlmConfig and Glm4Config.
// Source: https://arxiv.org/abs/2406.12793
#include <array>

#include "worker/models/dense.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 151552,
                               .hidden = 4096,
                               .inner = 13696,
                               .layers = 40,
                               .heads = 32,
                               .kv_heads = 2,
                               .head_dim = 128,
                               .context = 131072,
                               .norm_eps = 1.5625e-7};

ModelSpec GlmFromHf(HfConfig& config) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  ModelSpec spec = DenseFromHf(config, kDefaults);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.qkv_bias = config.Bool("attention_bias", true);
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context, {.partial = 0.5});
  attention.rope.style = RopeStyle::kInterleaved;
  Spread(spec);
  return spec;
}

ModelSpec GlmFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  if (!config.Floats("*.rope.dimension_sections").empty()) {
    config.Refuse("*.rope.dimension_sections", "is of a model that sees, which is not served");
  }
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context,
                                /*partial=*/true);
  attention.rope.style = RopeStyle::kInterleaved;
  Spread(spec);
  return spec;
}

ModelSpec WithSandwich(ModelSpec spec) {
  for (Block& block : spec.blocks) block.residual = Residual::kSandwich;
  return spec;
}

ModelSpec Glm4FromHf(HfConfig& config) { return WithSandwich(GlmFromHf(config)); }
ModelSpec Glm4FromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  return WithSandwich(GlmFromGguf(config, checkpoint));
}

NameTable GlmHfNames(const Checkpoint&) {
  NameTable names = HfNames("model.");
  FuseMlp(names, "model.layers.*.mlp.gate_up_proj");
  return names;
}

NameTable Glm4HfNames(const Checkpoint& checkpoint) {
  NameTable names = GlmHfNames(checkpoint);
  SandwichNames(names, "model.layers.*.post_self_attn_layernorm",
                "model.layers.*.post_attention_layernorm", "model.layers.*.post_mlp_layernorm");
  return names;
}

NameTable GlmGgufNames(const Checkpoint&) {
  NameTable names = GgufNames(RowOrder::kAsStored);
  FuseMlp(names, "blk.*.ffn_up");
  return names;
}

NameTable Glm4GgufNames(const Checkpoint& checkpoint) {
  NameTable names = GlmGgufNames(checkpoint);
  SandwichNames(names, "blk.*.post_attention_norm", "blk.*.ffn_norm", "blk.*.post_ffw_norm");
  return names;
}

constexpr std::array<std::string_view, 1> kGlm = {"GlmForCausalLM"};
constexpr std::array<std::string_view, 1> kGlm4 = {"Glm4ForCausalLM"};

}  // namespace

const Family& GlmFamily() {
  static const Family kFamily{.name = "glm",
                              .hf_architectures = kGlm,
                              .gguf_architecture = "chatglm",
                              .from_hf = GlmFromHf,
                              .from_gguf = GlmFromGguf,
                              .hf_names = GlmHfNames,
                              .gguf_names = GlmGgufNames,
                              .models = "GLM-4, in transformers' layout"};
  return kFamily;
}

const Family& Glm4Family() {
  static const Family kFamily{.name = "glm4",
                              .hf_architectures = kGlm4,
                              .gguf_architecture = "glm4",
                              .from_hf = Glm4FromHf,
                              .from_gguf = Glm4FromGguf,
                              .hf_names = Glm4HfNames,
                              .gguf_names = Glm4GgufNames,
                              .models = "GLM-4-0414, GLM-Z1"};
  return kFamily;
}

}  // namespace shardline
