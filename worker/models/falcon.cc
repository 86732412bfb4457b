// Falcon: multi-query with attention and MLP side by side (7B), grouped with a norm for each of the
// two (40B, 180B) or one for both (11B), and one after the other with linear biases (rw). Defaults
// are those of transformers' FalconConfig. Source: https://arxiv.org/abs/2311.16867
#include <array>

#include "worker/models/alibi.h"
#include "worker/models/dense.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 65024,
                               .hidden = 4544,
                               .layers = 32,
                               .heads = 71,
                               .context = 2048,
                               .tied_head = true,
                               .norm_eps = 1e-5};
constexpr int64_t kMostHidden = 1 << 20, kMostHeads = 1 << 12;

// What all Falcons have in common, on a spec that has the sizes.
void MakeFalcon(ModelSpec& spec, Residual residual) {
  UseLayerNorm(spec, true, true);
  spec.blocks[0].residual = residual;
  MlpOf(spec.blocks[0]).gated = false;
  MlpOf(spec.blocks[0]).activation = Activation::kGelu;  // of GGUF too, which does not tell
}

Residual ResidualOf(HfConfig& config, bool groups) {
  const bool parallel = config.Bool("parallel_attn", true);
  const int64_t norms = config.Int("num_ln_in_parallel_attn", 1, 2, groups ? 2 : 1);
  if (groups && !parallel) config.Refuse("parallel_attn", "false is not served in this layout");
  if (!groups && norms == 2) config.Refuse("num_ln_in_parallel_attn", "2 needs grouped heads");
  if (!parallel) return Residual::kSequential;
  return norms == 2 ? Residual::kParallelTwoNorms : Residual::kParallel;
}

ModelSpec FalconFromHf(HfConfig& config) {
  RequireFalse(config, {"apply_residual_connection_post_layernorm"});
  HfKeys keys{.inner = "", .kv_heads = "", .head_dim = "", .norm_eps = "layer_norm_epsilon"};
  // Configurations of before July 2023 have other keys, and tell grouped heads by the model's type.
  if (config.Has("n_embed")) keys.hidden = "n_embed";
  if (config.Has("n_layer")) keys.layers = "n_layer";
  if (config.Has("n_head")) keys.heads = "n_head";
  const std::string_view kv_heads = config.Has("n_head_kv") ? "n_head_kv" : "num_kv_heads";
  ModelSpec spec = DenseFromHf(config, kDefaults, keys);
  const bool groups = config.Bool("new_decoder_architecture", false) ||
                      config.String("model_type", "") == "RefinedWeb";
  MakeFalcon(spec, ResidualOf(config, groups));
  Attention& attention = AttentionOf(spec.blocks[0]);
  Mlp& mlp = MlpOf(spec.blocks[0]);
  mlp.activation = ActivationFromHf(config, "activation", "gelu");
  mlp.inner = config.Int("ffn_hidden_size", 1, kMostHidden, 4 * spec.hidden);
  attention.qkv_bias = attention.out_bias = mlp.bias = config.Bool("bias", false);
  if (groups) {
    attention.kv_heads = config.Int(kv_heads, 1, kMostHeads, attention.heads);
  } else if (config.Bool("multi_query", true)) {
    attention.kv_heads = 1;
  }
  if (config.Bool("alibi", false)) {
    attention.alibi = {.slopes = PressSlopes(attention.heads), .scaled = true, .rounded = true};
    RoundToBf16(attention.alibi.slopes);
  } else {
    attention.rope = RopeFromHf(config, attention.head_dim, spec.context);
  }
  Spread(spec);
  return spec;
}

// Only files of rotating Falcons exist, with attention and MLP side by side.
ModelSpec FalconFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  const bool two = checkpoint.Find("blk.0.attn_norm_2.weight") != nullptr;
  MakeFalcon(spec, two ? Residual::kParallelTwoNorms : Residual::kParallel);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context);
  Spread(spec);
  return spec;
}

NameTable FalconHfNames(const Checkpoint& checkpoint) {
  NameTable names = HfNames("transformer.");
  const std::string layer = "transformer.h.*.";
  const bool two = checkpoint.Find("transformer.h.0.ln_attn.weight") != nullptr;
  Rename(names, "embed", "transformer.word_embeddings");
  Rename(names, "final_norm", "transformer.ln_f");
  Rename(names, "*.norm1", layer + (two ? "ln_attn" : "input_layernorm"));
  Rename(names, "*.norm2", layer + (two ? "ln_mlp" : "post_attention_layernorm"));
  FuseQkv(names, layer + "self_attention.query_key_value", Fusion::kByGroup);
  Rename(names, "*.attn.o", layer + "self_attention.dense");
  Rename(names, "*.mlp.up", layer + "mlp.dense_h_to_4h");
  Rename(names, "*.mlp.down", layer + "mlp.dense_4h_to_h");
  names.ignored.push_back(layer + "self_attention.rotary_emb.inv_freq");
  return names;
}

NameTable FalconGgufNames(const Checkpoint& checkpoint) {
  NameTable names = GgufNames();
  if (checkpoint.Find("blk.0.attn_norm_2.weight") != nullptr) {
    Rename(names, "*.norm1", "blk.*.attn_norm_2");
    Rename(names, "*.norm2", "blk.*.attn_norm");
  }
  return names;
}

constexpr std::array<std::string_view, 2> kArchitectures = {"FalconForCausalLM", "RWForCausalLM"};

}  // namespace

const Family& FalconFamily() {
  static const Family kFamily{.name = "falcon",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "falcon",
                              .from_hf = FalconFromHf,
                              .from_gguf = FalconFromGguf,
                              .hf_names = FalconHfNames,
                              .gguf_names = FalconGgufNames,
                              .models = "Falcon 7B, 11B, 40B, 180B, rw"};
  return kFamily;
}

}  // namespace shardline
