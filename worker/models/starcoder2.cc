// StarCoder2: LayerNorm, biases everywhere, an MLP without a gate, a window over all layers where
// the configuration has one. Defaults are those of transformers' Starcoder2Config. Source:
// https://arxiv.org/abs/2402.19173
#include <array>

#include "worker/models/dense.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 49152,
                               .hidden = 3072,
                               .inner = 12288,
                               .layers = 30,
                               .heads = 24,
                               .kv_heads = 2,
                               .context = 4096,
                               .tied_head = true,
                               .norm_eps = 1e-5};
constexpr int64_t kMostWindow = int64_t{1} << 30;

// What all StarCoder2 have in common, on a spec that has the sizes.
void MakeStarcoder(ModelSpec& spec, Activation activation) {
  UseLayerNorm(spec, true, true);
  MlpOf(spec.blocks[0]).gated = false;
  MlpOf(spec.blocks[0]).activation = activation;
}

ModelSpec Starcoder2FromHf(HfConfig& config) {
  RequireActivation(config, "mlp_type", {"default"});
  RequireActivation(config, "norm_type", {"layer_norm"});
  ModelSpec spec = DenseFromHf(config, kDefaults, {.norm_eps = "norm_epsilon"});
  MakeStarcoder(spec, ActivationFromHf(config, "hidden_act", "gelu_pytorch_tanh"));
  Attention& attention = AttentionOf(spec.blocks[0]);
  const bool bias = config.Bool("use_bias", true);
  attention.qkv_bias = attention.out_bias = MlpOf(spec.blocks[0]).bias = bias;
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context);
  if (config.Has("sliding_window")) attention.window = config.Int("sliding_window", 1, kMostWindow);
  Spread(spec);
  return spec;
}

ModelSpec Starcoder2FromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  MakeStarcoder(spec, Activation::kGeluTanh);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context);
  attention.window = config.Int("*.attention.sliding_window", 0, kMostWindow, 0);
  Spread(spec);
  return spec;
}

NameTable Starcoder2HfNames(const Checkpoint&) {
  NameTable names = HfNames("model.");
  Rename(names, "*.mlp.up", "model.layers.*.mlp.c_fc");
  Rename(names, "*.mlp.down", "model.layers.*.mlp.c_proj");
  return names;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"Starcoder2ForCausalLM"};

}  // namespace

const Family& Starcoder2Family() {
  static const Family kFamily{
      .name = "starcoder2",
      .hf_architectures = kArchitectures,
      .gguf_architecture = "starcoder2",
      .from_hf = Starcoder2FromHf,
      .from_gguf = Starcoder2FromGguf,
      .hf_names = Starcoder2HfNames,
      .gguf_names = [](const Checkpoint& checkpoint) { return GgufNames(); },
      .models = "StarCoder2"};
  return kFamily;
}

}  // namespace shardline
