// Persimmon: LayerNorm, also of queries' and keys' heads, squared ReLU without a gate, queries,
// keys and values of one matrix, half of every head rotates. Defaults are those of transformers'
// PersimmonConfig. Source: https://www.adept.ai/blog/persimmon-8b
#include <array>

#include "worker/models/dense.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 262144,
                               .hidden = 4096,
                               .inner = 16384,
                               .layers = 36,
                               .heads = 64,
                               .context = 16384,
                               .norm_eps = 1e-5};

ModelSpec PersimmonFromHf(HfConfig& config) {
  ModelSpec spec = DenseFromHf(config, kDefaults,
                               {.kv_heads = "", .head_dim = "", .norm_eps = "layer_norm_eps"});
  UseLayerNorm(spec, true, true);
  Attention& attention = AttentionOf(spec.blocks[0]);
  Mlp& mlp = MlpOf(spec.blocks[0]);
  attention.qkv_bias = attention.out_bias = mlp.bias = true;
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context, {.partial = 0.5});
  if (config.Bool("qk_layernorm", true)) attention.head_norm = spec.final_norm;
  mlp.gated = false;
  mlp.activation = ActivationFromHf(config, "hidden_act", "relu2");
  Spread(spec);
  return spec;
}

NameTable PersimmonHfNames(const Checkpoint&) {
  NameTable names = HfNames("model.");
  const std::string layer = "model.layers.*.";
  Rename(names, "final_norm", "model.final_layernorm");
  FuseQkv(names, layer + "self_attn.query_key_value", Fusion::kByGroup);
  Rename(names, "*.attn.o", layer + "self_attn.dense");
  Rename(names, "*.attn.q_norm", layer + "self_attn.q_layernorm");
  Rename(names, "*.attn.k_norm", layer + "self_attn.k_layernorm");
  Rename(names, "*.mlp.up", layer + "mlp.dense_h_to_4h");
  Rename(names, "*.mlp.down", layer + "mlp.dense_4h_to_h");
  return names;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"PersimmonForCausalLM"};

}  // namespace

const Family& PersimmonFamily() {
  static const Family kFamily{.name = "persimmon",
                              .hf_architectures = kArchitectures,
                              .from_hf = PersimmonFromHf,
                              .hf_names = PersimmonHfNames,
                              .models = "Persimmon 8B"};
  return kFamily;
}

}  // namespace shardline
