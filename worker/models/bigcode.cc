// BigCode (SantaCoder, StarCoder): GPT-2's block with learned positions, multi-query or multi-head,
// queries, keys and values of one matrix. Defaults are those of transformers' GPTBigCodeConfig.
// Source: https://arxiv.org/abs/2305.06161
#include <array>

#include "worker/models/dense.h"
#include "worker/models/registry.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 50257,
                               .hidden = 768,
                               .layers = 12,
                               .heads = 12,
                               .context = 1024,
                               .tied_head = true,
                               .norm_eps = 1e-5};
constexpr HfKeys kKeys{.hidden = "n_embd",
                       .inner = "",
                       .layers = "n_layer",
                       .heads = "n_head",
                       .kv_heads = "",
                       .head_dim = "",
                       .context = "n_positions",
                       .norm_eps = "layer_norm_epsilon"};
constexpr int64_t kMostHidden = 1 << 20;

// What all BigCodes have in common, on a spec that has the sizes.
void MakeBigcode(ModelSpec& spec, Activation activation) {
  UseLayerNorm(spec, true, true);
  spec.learned_positions = spec.context;
  Attention& attention = AttentionOf(spec.blocks[0]);
  Mlp& mlp = MlpOf(spec.blocks[0]);
  attention.qkv_bias = attention.out_bias = mlp.bias = true;
  mlp.gated = false;
  mlp.activation = activation;
  Spread(spec);
}

ModelSpec BigcodeFromHf(HfConfig& config) {
  RequireFalse(config, {"add_cross_attention"});
  ModelSpec spec = DenseFromHf(config, kDefaults, kKeys);
  MlpOf(spec.blocks[0]).inner = config.Int("n_inner", 1, kMostHidden, 4 * spec.hidden);
  Attention& attention = AttentionOf(spec.blocks[0]);
  if (config.Bool("multi_query", true)) attention.kv_heads = 1;
  if (!config.Bool("scale_attn_weights", true)) attention.scale = 1;
  MakeBigcode(spec, ActivationFromHf(config, "activation_function", "gelu_pytorch_tanh"));
  return spec;
}

ModelSpec BigcodeFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  MakeBigcode(spec, Activation::kGeluTanh);
  return spec;
}

NameTable BigcodeHfNames(const Checkpoint&) {
  NameTable names = HfNames("transformer.");
  const std::string layer = "transformer.h.*.";
  Rename(names, "embed", "transformer.wte");
  Rename(names, "positions", "transformer.wpe");
  Rename(names, "final_norm", "transformer.ln_f");
  Rename(names, "*.norm1", layer + "ln_1");
  Rename(names, "*.norm2", layer + "ln_2");
  FuseQkv(names, layer + "attn.c_attn", Fusion::kByGroup);
  Rename(names, "*.attn.o", layer + "attn.c_proj");
  Rename(names, "*.mlp.up", layer + "mlp.c_fc");
  Rename(names, "*.mlp.down", layer + "mlp.c_proj");
  names.ignored.push_back(layer + "attn.bias");  // old files' masks
  names.ignored.push_back(layer + "attn.masked_bias");
  return names;
}

NameTable BigcodeGgufNames(const Checkpoint& checkpoint) {
  NameTable names = GgufNames();
  Rename(names, "positions", "position_embd");
  return names;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"GPTBigCodeForCausalLM"};

}  // namespace

const Family& BigcodeFamily() {
  static const Family kFamily{.name = "gpt_bigcode",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "starcoder",
                              .from_hf = BigcodeFromHf,
                              .from_gguf = BigcodeFromGguf,
                              .hf_names = BigcodeHfNames,
                              .gguf_names = BigcodeGgufNames,
                              .models = "SantaCoder, StarCoder",
                              .goldens = "bigcode"};
  return kFamily;
}

}  // namespace shardline
