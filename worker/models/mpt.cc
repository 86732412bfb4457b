// MPT and Replit's models: LayerNorm, linear position biases or learned positions instead of
// rotation, queries, keys and values of one matrix and kept within bounds. Defaults are those of
// transformers' MptConfig, or of the checkpoints' own class. Source:
// https://huggingface.co/mosaicml/mpt-7b
#include <array>
#include <cmath>

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

constexpr std::array<std::string_view, 4> kArchitectures = {"MptForCausalLM", "MPTForCausalLM",
                                                            "MosaicGPT", "ReplitLM"};

// What all MPT have in common, on a spec that has the sizes. `most_bias` 0: no linear biases.
void MakeMpt(ModelSpec& spec, double clip, double most_bias, bool bias, bool row_norms) {
  UseLayerNorm(spec, true, bias);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.clip = clip;
  attention.qkv_bias = attention.out_bias = MlpOf(spec.blocks[0]).bias = bias;
  if (most_bias > 0) attention.alibi = {.slopes = MptSlopes(attention.heads, most_bias)};
  if (row_norms) attention.row_norm = spec.final_norm;
  MlpOf(spec.blocks[0]).gated = false;
  MlpOf(spec.blocks[0]).activation = Activation::kGelu;
  Spread(spec);
}

// A key of attn_config. Configurations of before May 2023, Replit's first among them, have these
// keys beside the others.
std::string AttentionKey(const HfConfig& config, std::string_view name) {
  if (!config.Keys("attn_config").empty()) return Cat("attn_config.", name);
  return Cat(name == "clip_qkv" || name == "qk_ln" ? "attn_" : "", name);
}

// What MPT's training code could do besides.
void RefuseOtherMpts(HfConfig& config) {
  RequireFalse(config,
               {AttentionKey(config, "prefix_lm"), AttentionKey(config, "attn_uses_sequence_id"),
                "attn_config.qk_gn", "attn_config.rope"});
  config.Int("attn_config.sliding_window_size", -1, -1, -1);
  if (config.Has("ffn_config.ffn_act_fn")) config.Refuse("ffn_config.ffn_act_fn", "is not served");
  RequireActivation(config, "norm_type", {"low_precision_layernorm", "layernorm"});
  RequireActivation(config, "ffn_config.ffn_type", {"mptmlp"});
}

int64_t KvHeads(HfConfig& config, int64_t heads) {
  RequireActivation(config, "attn_config.attn_type",
                    {"multihead_attention", "multiquery_attention", "grouped_query_attention"});
  const std::string type = config.String("attn_config.attn_type", "");
  if (type == "grouped_query_attention") return config.Int("attn_config.kv_n_heads", 1, heads);
  return type == "multiquery_attention" ? 1 : heads;
}

double LogitScale(HfConfig& config, int64_t hidden) {
  if (!config.IsString("logit_scale")) {
    return config.Float("logit_scale", kLeastFactor, kMostFactor, 1);
  }
  RequireActivation(config, "logit_scale", {"inv_sqrt_d_model"});
  return 1 / std::sqrt(static_cast<double>(hidden));
}

ModelSpec MptFromHf(HfConfig& config) {
  RefuseOtherMpts(config);
  ModelSpec spec = DenseFromHf(config, kDefaults, kKeys);
  const std::vector<std::string> names = config.Strings("architectures");
  // The classes differ in what they take an absent key for.
  const bool transformers = names.empty() || names[0] == kArchitectures[0];
  const std::string_view ratio = config.Has("mlp_ratio") ? "mlp_ratio" : "expansion_ratio";
  MlpOf(spec.blocks[0]).inner = spec.hidden * config.Int(ratio, 1, 64, 4);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.kv_heads = KvHeads(config, attention.heads);
  attention.scale = config.Float(AttentionKey(config, "softmax_scale"), 0, kMostFactor, 0);
  spec.logit_scale = LogitScale(config, spec.hidden);
  const bool alibi = config.Bool(AttentionKey(config, "alibi"), transformers);
  if (!alibi && config.Bool("learned_pos_emb", true)) spec.learned_positions = spec.context;
  const double most =
      config.Float(AttentionKey(config, "alibi_bias_max"), kLeastFactor, kMostFactor, kMostBias);
  MakeMpt(spec, config.Float(AttentionKey(config, "clip_qkv"), 0, kMostFactor, 0), alibi ? most : 0,
          !config.Bool("no_bias", transformers), config.Bool(AttentionKey(config, "qk_ln"), false));
  return spec;
}

ModelSpec MptFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  if (checkpoint.Find("position_embd.weight") != nullptr) spec.learned_positions = spec.context;
  MakeMpt(spec, config.Float("*.attention.clamp_kqv", 0, kMostFactor, 0),
          config.Float("*.attention.max_alibi_bias", 0, kMostFactor), MlpOf(spec.blocks[0]).bias,
          checkpoint.Find("blk.0.attn_q_norm.weight") != nullptr);
  return spec;
}

NameTable MptHfNames(const Checkpoint& checkpoint) {
  NameTable names = HfNames("transformer.");
  const std::string block = "transformer.blocks.*.";
  const bool old = checkpoint.Find("transformer.blocks.0.ln_1.weight") != nullptr;
  Rename(names, "embed", "transformer.wte");
  Rename(names, "positions", "transformer.wpe");
  Rename(names, "final_norm", old ? "transformer.ln_f" : "transformer.norm_f");
  Rename(names, "*.norm1", block + (old ? "ln_1" : "norm_1"));
  Rename(names, "*.norm2", block + (old ? "ln_2" : "norm_2"));
  FuseQkv(names, block + "attn.Wqkv", Fusion::kStacked);
  HeadNormNames(names, block + "attn.q_ln", block + "attn.k_ln");
  Rename(names, "*.attn.o", block + "attn.out_proj");
  Rename(names, "*.mlp.up", block + (old ? "mlp.mlp_up" : "ffn.up_proj"));
  Rename(names, "*.mlp.down", block + (old ? "mlp.mlp_down" : "ffn.down_proj"));
  return names;
}

NameTable MptGgufNames(const Checkpoint&) {
  NameTable names = GgufNames();
  Rename(names, "positions", "position_embd");
  HeadNormNames(names, "blk.*.attn_q_norm", "blk.*.attn_k_norm");
  return names;
}

}  // namespace

const Family& MptFamily() {
  static const Family kFamily{.name = "mpt",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "mpt",
                              .from_hf = MptFromHf,
                              .from_gguf = MptFromGguf,
                              .hf_names = MptHfNames,
                              .gguf_names = MptGgufNames,
                              .models = "MPT, Replit Code",
                              .goldens = "mpt, replit"};
  return kFamily;
}

}  // namespace shardline
