// MPT and Replit's models: LayerNorm without biases, linear position biases instead of rotation,
// queries, keys and values of one matrix and kept within bounds. Defaults are those of
// transformers' MptConfig. Source: https://huggingface.co/mosaicml/mpt-7b
#include <array>

#include "worker/models/alibi.h"
#include "worker/models/dense.h"
#include "worker/models/registry.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 50368,
                               .hidden = 2048,
                               .layers = 24,
                               .heads = 16,
                               .context = 2048,
                               .tied_head = true,
                               .norm_eps = 1e-5};
constexpr HfKeys kKeys{.hidden = "d_model",
                       .inner = "",
                       .layers = "n_layers",
                       .heads = "n_heads",
                       .kv_heads = "",
                       .head_dim = "",
                       .context = "max_seq_len",
                       .norm_eps = "layer_norm_epsilon"};
constexpr double kMostBias = 8;  // without a key; transformers' class takes it with one, too

// What all MPT have in common, on a spec that has the sizes.
void MakeMpt(ModelSpec& spec, double clip, double most_bias) {
  UseLayerNorm(spec, true, false);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.clip = clip;
  attention.alibi = {.slopes = MptSlopes(attention.heads, most_bias)};
  MlpOf(spec.blocks[0]).gated = false;
  MlpOf(spec.blocks[0]).activation = Activation::kGelu;
  Spread(spec);
}

// What MPT's training code could do besides.
void RefuseOtherMpts(HfConfig& config) {
  RefuseQuantised(config);
  RequireFalse(config, {"attn_config.qk_ln", "attn_config.qk_gn", "attn_config.prefix_lm",
                        "attn_config.attn_uses_sequence_id", "attn_config.rope"});
  if (!config.Bool("attn_config.alibi", true)) config.Refuse("attn_config.alibi", "is false");
  if (!config.Bool("no_bias", true)) config.Refuse("no_bias", "is false");
  if (config.Has("logit_scale")) config.Refuse("logit_scale", "is not served");
  RequireActivation(config, "norm_type", {"low_precision_layernorm", "layernorm"});
  RequireActivation(config, "ffn_config.ffn_type", {"mptmlp"});
}

int64_t KvHeads(HfConfig& config, int64_t heads) {
  constexpr std::string_view kKey = "attn_config.attn_type";
  const std::string type = config.String(kKey, "multihead_attention");
  if (type == "multihead_attention") return heads;
  if (type == "multiquery_attention") return 1;
  if (type == "grouped_query_attention") return config.Int("attn_config.kv_n_heads", 1, heads);
  config.Refuse(kKey, Cat("'", type, "' is not served"));
  return heads;
}

ModelSpec MptFromHf(HfConfig& config) {
  RefuseOtherMpts(config);
  ModelSpec spec = DenseFromHf(config, kDefaults, kKeys);
  MlpOf(spec.blocks[0]).inner = spec.hidden * config.Int("expansion_ratio", 1, 64, 4);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.kv_heads = KvHeads(config, attention.heads);
  attention.scale = config.Float("attn_config.softmax_scale", 0, kMostFactor, 0);
  MakeMpt(spec, config.Float("attn_config.clip_qkv", 0, kMostFactor, 0),
          config.Float("attn_config.alibi_bias_max", kLeastFactor, kMostFactor, kMostBias));
  return spec;
}

ModelSpec MptFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  MakeMpt(spec, config.Float("*.attention.clamp_kqv", 0, kMostFactor, 0),
          config.Float("*.attention.max_alibi_bias", kLeastFactor, kMostFactor));
  return spec;
}

NameTable MptHfNames(const Checkpoint&) {
  NameTable names = HfNames("transformer.");
  const std::string block = "transformer.blocks.*.";
  Rename(names, "embed", "transformer.wte");
  Rename(names, "final_norm", "transformer.norm_f");
  Rename(names, "*.norm1", block + "norm_1");
  Rename(names, "*.norm2", block + "norm_2");
  FuseQkv(names, block + "attn.Wqkv", Fusion::kStacked);
  Rename(names, "*.attn.o", block + "attn.out_proj");
  Rename(names, "*.mlp.up", block + "ffn.up_proj");
  Rename(names, "*.mlp.down", block + "ffn.down_proj");
  return names;
}

constexpr std::array<std::string_view, 2> kArchitectures = {"MptForCausalLM", "MPTForCausalLM"};

}  // namespace

const Family& MptFamily() {
  static const Family kFamily{
      .name = "mpt",
      .hf_architectures = kArchitectures,
      .gguf_architecture = "mpt",
      .from_hf = MptFromHf,
      .from_gguf = MptFromGguf,
      .hf_names = MptHfNames,
      .gguf_names = [](const Checkpoint& checkpoint) { return GgufNames(); },
      .models = "MPT, Replit Code 1.5"};
  return kFamily;
}

}  // namespace shardline
