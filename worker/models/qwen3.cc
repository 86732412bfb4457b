// Qwen3: Llama with norms of heads, and windows in the upper layers of checkpoints that ask for
// them. Defaults are those of transformers' Qwen3Config. Source: https://arxiv.org/abs/2505.09388
#include <array>

#include "worker/models/dense.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 151936,
                               .hidden = 4096,
                               .inner = 22016,
                               .layers = 32,
                               .heads = 32,
                               .kv_heads = 32,
                               .head_dim = 128,
                               .context = 32768};

ModelSpec Qwen3FromHf(HfConfig& config) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  ModelSpec spec = DenseFromHf(config, kDefaults);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.qkv_bias = attention.out_bias = config.Bool("attention_bias", false);
  attention.head_norm = spec.final_norm;
  // Some checkpoints (Qwen3-Coder) say so.
  if (!config.Bool("use_qk_norm", true)) config.Refuse("use_qk_norm", "false is not served");
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context);
  Spread(spec);
  AddUpperWindows(config, spec);
  return spec;
}

ModelSpec Qwen3FromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.head_norm = spec.final_norm;
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context);
  Spread(spec);
  return spec;
}

NameTable Qwen3HfNames(const Checkpoint&) {
  NameTable names = HfNames("model.");
  HeadNormNames(names, "model.layers.*.self_attn.q_norm", "model.layers.*.self_attn.k_norm");
  return names;
}

NameTable Qwen3GgufNames(const Checkpoint&) {
  NameTable names = GgufNames(RowOrder::kAsStored);
  HeadNormNames(names, "blk.*.attn_q_norm", "blk.*.attn_k_norm");
  return names;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"Qwen3ForCausalLM"};

}  // namespace

const Family& Qwen3Family() {
  static const Family kFamily{.name = "qwen3",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "qwen3",
                              .from_hf = Qwen3FromHf,
                              .from_gguf = Qwen3FromGguf,
                              .hf_names = Qwen3HfNames,
                              .gguf_names = Qwen3GgufNames,
                              .models = "Qwen3"};
  return kFamily;
}

}  // namespace shardline
