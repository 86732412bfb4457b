// OLMo: Llama with LayerNorm that has no weights, and queries, keys and values kept within bounds.
// Defaults are those of transformers' OlmoConfig. Source: https://arxiv.org/abs/2402.00838
#include <array>

#include "worker/models/dense.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 50304,
                               .hidden = 4096,
                               .inner = 11008,
                               .layers = 32,
                               .heads = 32,
                               .context = 2048,
                               .norm_eps = 1e-5};

ModelSpec OlmoFromHf(HfConfig& config) {
  ModelSpec spec = DenseFromHf(config, kDefaults, {.norm_eps = ""});
  UseLayerNorm(spec, false, false);
  Attention& attention = AttentionOf(spec.blocks[0]);
  MlpOf(spec.blocks[0]).activation = ActivationFromHf(config, "hidden_act", "silu");
  attention.qkv_bias = attention.out_bias = config.Bool("attention_bias", false);
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context);
  attention.clip = config.Float("clip_qkv", 0, kMostFactor, 0);
  Spread(spec);
  return spec;
}

ModelSpec OlmoFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  spec.final_norm.norm.eps =  // not the one of root mean squares that may stand beside it
      static_cast<float>(config.Float("*.attention.layer_norm_epsilon", 0, kMostEps));
  UseLayerNorm(spec, false, false);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context);
  attention.clip = config.Float("*.attention.clamp_kqv", 0, kMostFactor, 0);
  Spread(spec);
  return spec;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"OlmoForCausalLM"};

}  // namespace

const Family& OlmoFamily() {
  static const Family kFamily{
      .name = "olmo",
      .hf_architectures = kArchitectures,
      .gguf_architecture = "olmo",
      .from_hf = OlmoFromHf,
      .from_gguf = OlmoFromGguf,
      .hf_names = [](const Checkpoint&) { return HfNames("model."); },
      .gguf_names =
          [](const Checkpoint& checkpoint) { return GgufNames(RowOrder::kInterleavedHeads); },
      .models = "OLMo"};
  return kFamily;
}

}  // namespace shardline
