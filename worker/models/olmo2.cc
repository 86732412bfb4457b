// OLMo 2: norms after the parts instead of before them, and norms of all queries and of all keys of
// a token. Defaults are those of transformers' Olmo2Config. Source:
// https://arxiv.org/abs/2501.00656
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

void MakeOlmo2(ModelSpec& spec) {
  spec.final_norm.norm.rounding = NormRounding::kOnce;
  Block& block = spec.blocks[0];
  block.residual = Residual::kPostNorm;
  block.norm = spec.final_norm;
  AttentionOf(block).row_norm = spec.final_norm;
}

ModelSpec Olmo2FromHf(HfConfig& config) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  ModelSpec spec = DenseFromHf(config, kDefaults);
  MakeOlmo2(spec);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.qkv_bias = attention.out_bias = config.Bool("attention_bias", false);
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context);
  Spread(spec);
  return spec;
}

ModelSpec Olmo2FromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  if (config.Int("*.attention.sliding_window", 0, int64_t{1} << 30, 0) != 0) {
    config.Refuse("*.attention.sliding_window", "is OLMo 3's, which is not served");
  }
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  MakeOlmo2(spec);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context);
  Spread(spec);
  return spec;
}

NameTable Olmo2HfNames(const Checkpoint&) {
  NameTable names = HfNames("model.");
  SandwichNames(names, "model.layers.*.post_attention_layernorm", "",
                "model.layers.*.post_feedforward_layernorm");
  HeadNormNames(names, "model.layers.*.self_attn.q_norm", "model.layers.*.self_attn.k_norm");
  return names;
}

NameTable Olmo2GgufNames(const Checkpoint&) {
  NameTable names = GgufNames(RowOrder::kAsStored);
  SandwichNames(names, "blk.*.post_attention_norm", "", "blk.*.post_ffw_norm");
  HeadNormNames(names, "blk.*.attn_q_norm", "blk.*.attn_k_norm");
  return names;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"Olmo2ForCausalLM"};

}  // namespace

const Family& Olmo2Family() {
  static const Family kFamily{.name = "olmo2",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "olmo2",
                              .from_hf = Olmo2FromHf,
                              .from_gguf = Olmo2FromGguf,
                              .hf_names = Olmo2HfNames,
                              .gguf_names = Olmo2GgufNames,
                              .models = "OLMo 2"};
  return kFamily;
}

}  // namespace shardline
