// Helium: Llama with a rotation of neighbouring dimensions and norms that round once. Defaults are
// those of transformers' HeliumConfig. Source: https://huggingface.co/kyutai/helium-1-preview-2b
#include <array>

#include "worker/models/dense.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 48000,
                               .hidden = 2560,
                               .inner = 7040,
                               .layers = 24,
                               .heads = 20,
                               .kv_heads = 20,
                               .head_dim = 128,
                               .context = 4096,
                               .norm_eps = 1e-8};

ModelSpec HeliumFromHf(HfConfig& config) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  ModelSpec spec = DenseFromHf(config, kDefaults);
  spec.final_norm.norm.rounding = NormRounding::kOnce;
  Block& block = spec.blocks[0];
  block.norm = spec.final_norm;
  Attention& attention = AttentionOf(block);
  attention.qkv_bias = config.Bool("attention_bias", false);
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context, {.theta = 1e5});
  attention.rope.style = RopeStyle::kInterleaved;
  MlpOf(block).bias = config.Bool("mlp_bias", false);
  Spread(spec);
  return spec;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"HeliumForCausalLM"};

}  // namespace

const Family& HeliumFamily() {
  static const Family kFamily{.name = "helium",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "",
                              .from_hf = HeliumFromHf,
                              .from_gguf = nullptr,
                              .hf_names = [](const Checkpoint&) { return HfNames("model."); },
                              .gguf_names = nullptr,
                              .models = "Helium 1 preview"};
  return kFamily;
}

}  // namespace shardline
