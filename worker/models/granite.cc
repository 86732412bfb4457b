// Granite: Llama with scaled embeddings, scores, sums and logits. Defaults are those of
// transformers' GraniteConfig. Source: https://arxiv.org/abs/2408.13359
#include "worker/models/granite.h"

#include <array>

#include "worker/models/dense.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 32000,
                               .hidden = 4096,
                               .inner = 11008,
                               .layers = 32,
                               .heads = 32,
                               .context = 2048};

double Factor(Config& config, std::string_view key) {
  return config.Float(key, kLeastFactor, kMostFactor, 1);
}

}  // namespace

ModelSpec GraniteFromHf(HfConfig& config) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  ModelSpec spec = DenseFromHf(config, kDefaults);
  spec.embedding_scale = Factor(config, "embedding_multiplier");
  spec.logit_scale = 1 / Factor(config, "logits_scaling");
  Block& block = spec.blocks[0];
  block.residual_scale = Factor(config, "residual_multiplier");
  Attention& attention = AttentionOf(block);
  attention.scale = Factor(config, "attention_multiplier");
  attention.qkv_bias = attention.out_bias = config.Bool("attention_bias", false);
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context);
  MlpOf(block).bias = config.Bool("mlp_bias", false);
  Spread(spec);
  return spec;
}

ModelSpec GraniteFromGguf(GgufConfig& config, const Checkpoint& checkpoint, bool experts) {
  if (!config.Bool("*.rope.scaling.finetuned", true)) {
    config.Refuse("*.rope.scaling.finetuned", "is false: Granite without positions is not served");
  }
  ModelSpec spec = DenseFromGguf(config, checkpoint, experts);
  spec.embedding_scale = Factor(config, "*.embedding_scale");
  spec.logit_scale = 1 / Factor(config, "*.logit_scale");
  Block& block = spec.blocks[0];
  block.residual_scale = Factor(config, "*.residual_scale");
  Attention& attention = AttentionOf(block);
  if (config.Float("*.attention.scale", 0) != 0) {
    attention.scale = Factor(config, "*.attention.scale");
  }
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context);
  Spread(spec);
  return spec;
}

namespace {

ModelSpec FromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  return GraniteFromGguf(config, checkpoint, /*experts=*/false);
}

constexpr std::array<std::string_view, 1> kArchitectures = {"GraniteForCausalLM"};

}  // namespace

const Family& GraniteFamily() {
  static const Family kFamily{
      .name = "granite",
      .hf_architectures = kArchitectures,
      .gguf_architecture = "granite",
      .from_hf = GraniteFromHf,
      .from_gguf = FromGguf,
      .hf_names = [](const Checkpoint&) { return HfNames("model."); },
      .gguf_names = [](const Checkpoint&) { return GgufNames(RowOrder::kInterleavedHeads); },
      .models = "Granite 3"};
  return kFamily;
}

}  // namespace shardline
