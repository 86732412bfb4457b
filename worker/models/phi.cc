// Phi-1, 1.5 and 2: one LayerNorm feeds attention and an MLP without a gate side by side, a part of
// every head rotates, all products have biases, the head too. Defaults are those of transformers'
// PhiConfig. Source: https://arxiv.org/abs/2309.05463
#include <array>

#include "worker/models/dense.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 51200,
                               .hidden = 2048,
                               .inner = 8192,
                               .layers = 24,
                               .heads = 32,
                               .context = 2048,
                               .norm_eps = 1e-5};

// What all Phi have in common, on a spec that has the sizes.
void MakePhi(ModelSpec& spec, Activation activation) {
  UseLayerNorm(spec, true, true);
  spec.head_bias = true;
  Block& block = spec.blocks[0];
  block.residual = Residual::kParallel;
  AttentionOf(block).qkv_bias = AttentionOf(block).out_bias = MlpOf(block).bias = true;
  MlpOf(block).gated = false;
  MlpOf(block).activation = activation;
}

ModelSpec PhiFromHf(HfConfig& config) {
  RefuseQuantised(config);
  ModelSpec spec = DenseFromHf(config, kDefaults, {.norm_eps = "layer_norm_eps"});
  MakePhi(spec, ActivationFromHf(config, "hidden_act", "gelu_new"));
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context, {.partial = 0.5});
  if (config.Bool("qk_layernorm", false)) attention.head_norm = spec.final_norm;
  Spread(spec);
  return spec;
}

ModelSpec PhiFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  MakePhi(spec, Activation::kGeluTanh);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context, true);
  Spread(spec);
  return spec;
}

NameTable PhiHfNames(const Checkpoint&) {
  NameTable names = HfNames("model.");
  const std::string layer = "model.layers.*.";
  Rename(names, "final_norm", "model.final_layernorm");
  Rename(names, "*.attn.o", layer + "self_attn.dense");
  Rename(names, "*.attn.q_norm", layer + "self_attn.q_layernorm");
  Rename(names, "*.attn.k_norm", layer + "self_attn.k_layernorm");
  Rename(names, "*.mlp.up", layer + "mlp.fc1");
  Rename(names, "*.mlp.down", layer + "mlp.fc2");
  return names;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"PhiForCausalLM"};

}  // namespace

const Family& PhiFamily() {
  static const Family kFamily{
      .name = "phi",
      .hf_architectures = kArchitectures,
      .gguf_architecture = "phi2",
      .from_hf = PhiFromHf,
      .from_gguf = PhiFromGguf,
      .hf_names = PhiHfNames,
      .gguf_names = [](const Checkpoint& checkpoint) { return GgufNames(); },
      .models = "Phi-1, Phi-1.5, Phi-2"};
  return kFamily;
}

}  // namespace shardline
