// Phi-1, 1.5 and 2: one LayerNorm feeds attention and an MLP without a gate side by side, a part of
// every head rotates, all products have biases, the head too. Defaults are those of transformers'
// PhiConfig, and of the checkpoints' first code, whose keys and names are others. Source:
// https://arxiv.org/abs/2309.05463
#include <algorithm>
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
constexpr HfDefaults kFirstDefaults{.vocabulary = 50304,
                                    .hidden = 1024,
                                    .layers = 20,
                                    .heads = 16,
                                    .context = 2048,
                                    .norm_eps = 1e-5};
constexpr HfKeys kFirstKeys{.hidden = "n_embd",
                            .inner = "",
                            .layers = "n_layer",
                            .heads = "n_head",
                            .kv_heads = "n_head_kv",
                            .head_dim = "",
                            .context = "n_positions",
                            .norm_eps = "layer_norm_epsilon"};

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

ModelSpec PhiFromFirstKeys(HfConfig& config) {
  RequireActivation(config, "architecture.block_cls", {"parallel"});
  RequireActivation(config, "architecture.mlp.mlp_cls", {"mlp", "fused_mlp"});
  ModelSpec spec = DenseFromHf(config, kFirstDefaults, kFirstKeys);
  const int64_t multiple = config.Int("pad_vocab_size_multiple", 1, 1 << 16, 64);
  spec.vocabulary = (spec.vocabulary + multiple - 1) / multiple * multiple;
  MlpOf(spec.blocks[0]).inner = config.Int("n_inner", 1, 1 << 20, 4 * spec.hidden);
  MakePhi(spec, ActivationFromHf(config, "activation_function", "gelu_new"));
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope.rot_dim = std::min(config.Int("rotary_dim", 2, 1 << 10, 32), attention.head_dim);
  Spread(spec);
  return spec;
}

ModelSpec PhiFromHf(HfConfig& config) {
  if (config.Has("n_embd")) return PhiFromFirstKeys(config);
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

// A sequence of the embedding, the blocks and the head, or each under a name of its own.
NameTable FirstNames(const Checkpoint& checkpoint, bool sequence) {
  NameTable names = HfNames("");
  const std::string block = sequence ? "layers.*." : "transformer.h.*.";
  const int64_t blocks = checkpoint.hf()->Int("n_layer", 1, 1 << 10, kFirstDefaults.layers);
  const std::string head = sequence ? Cat("layers.", blocks + 1, ".") : "lm_head.";
  if (sequence) names.first_block = 1;
  Rename(names, "embed", sequence ? "layers.0.wte" : "transformer.embd.wte");
  Rename(names, "final_norm", head + "ln");
  Rename(names, "head", head + "linear");
  Rename(names, "*.norm1", block + "ln");
  FuseQkv(names, block + "mixer.Wqkv", Fusion::kStacked);
  Rename(names, "*.attn.o", block + "mixer.out_proj");
  Rename(names, "*.mlp.up", block + "mlp.fc1");
  Rename(names, "*.mlp.down", block + "mlp.fc2");
  names.ignored.push_back(block + "mixer.rotary_emb.inv_freq");
  return names;
}

NameTable PhiHfNames(const Checkpoint& checkpoint) {
  const bool sequence = checkpoint.Find("layers.0.wte.weight") != nullptr;
  if (sequence || checkpoint.Find("transformer.embd.wte.weight") != nullptr) {
    return FirstNames(checkpoint, sequence);
  }
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

constexpr std::array<std::string_view, 2> kArchitectures = {"PhiForCausalLM",
                                                            "MixFormerSequentialForCausalLM"};

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
