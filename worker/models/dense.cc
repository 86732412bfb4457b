// Sizes are bounded so that no product of two overflows.
#include "worker/models/dense.h"

#include <algorithm>

#include "worker/models/experts.h"

namespace shardline {
namespace {

constexpr int64_t kMostHidden = 1 << 20, kMostHeads = 1 << 12, kMostHeadDim = 1 << 10;
constexpr int64_t kMostLayers = 1 << 10, kMostVocabulary = 1 << 24, kMostContext = 1 << 30;
constexpr int64_t kUnstatedContext = 32768;  // of a GGUF file that does not tell

int64_t Size(HfConfig& config, std::string_view key, int64_t most, int64_t fallback) {
  if (key.empty()) return fallback;
  return fallback > 0 ? config.Int(key, 1, most, fallback) : config.Int(key, 1, most);
}

// Absent means the class's default, null as many as heads.
int64_t KvHeads(HfConfig& config, std::string_view key, int64_t heads, int64_t fallback) {
  if (fallback == 0 || config.IsNull(key)) fallback = heads;
  return Size(config, key, kMostHeads, fallback);
}

ModelSpec MakeSpec(const Attention& attention, const Mlp& mlp, const NormSpec& norm,
                   int64_t layers) {
  ModelSpec spec{.final_norm = norm};
  spec.blocks.assign(layers, Block{.norm = norm, .mixer = attention, .ffn = mlp});
  return spec;
}

// What llama.cpp computes with every architecture, or with this one for some other model.
void RefuseForeignGgufKeys(GgufConfig& config) {
  constexpr std::string_view kCausal = "*.attention.causal";
  if (!config.Bool(kCausal, true)) {
    config.Refuse(kCausal, "is false: a model that embeds, which is not served");
  }
  constexpr std::string_view kTemperature = "*.attention.temperature_scale";
  if (config.Float(kTemperature, 0) != 0) config.Refuse(kTemperature, "is not served");
}

}  // namespace

Attention& AttentionOf(Block& block) { return std::get<Attention>(block.mixer); }
Mlp& MlpOf(Block& block) { return std::get<Mlp>(block.ffn); }

void UseLayerNorm(ModelSpec& spec, bool weight, bool bias) {
  spec.final_norm.centred = true;
  spec.final_norm.has_weight = weight;
  spec.final_norm.has_bias = bias;
  for (Block& block : spec.blocks) block.norm = spec.final_norm;
}

void Spread(ModelSpec& spec) {
  std::fill(spec.blocks.begin() + 1, spec.blocks.end(), spec.blocks.front());
}

ModelSpec DenseFromHf(HfConfig& config, const HfDefaults& defaults, const HfKeys& keys) {
  const int64_t hidden = Size(config, keys.hidden, kMostHidden, defaults.hidden);
  const int64_t heads = Size(config, keys.heads, kMostHeads, defaults.heads);
  const int64_t head_dim = defaults.head_dim > 0 ? defaults.head_dim : hidden / heads;
  if (keys.head_dim.empty() && head_dim * heads != hidden) {
    config.Refuse(keys.heads, Cat(heads, " does not divide ", keys.hidden, " ", hidden));
  }
  const Attention attention{.heads = heads,
                            .kv_heads = KvHeads(config, keys.kv_heads, heads, defaults.kv_heads),
                            .head_dim = Size(config, keys.head_dim, kMostHeadDim, head_dim)};
  const Mlp mlp{.inner = Size(config, keys.inner, kMostHidden, defaults.inner)};
  const double eps = keys.norm_eps.empty()
                         ? defaults.norm_eps
                         : config.Float(keys.norm_eps, 0, kMostEps, defaults.norm_eps);
  const NormSpec norm{.norm{static_cast<float>(eps)}};
  ModelSpec spec =
      MakeSpec(attention, mlp, norm, Size(config, keys.layers, kMostLayers, defaults.layers));
  spec.vocabulary = Size(config, keys.vocabulary, kMostVocabulary, defaults.vocabulary);
  spec.hidden = hidden;
  spec.context = Size(config, keys.context, kMostContext, defaults.context);
  spec.tied_head = config.Bool("tie_word_embeddings", defaults.tied_head);
  return spec;
}

int64_t NextTokenLayers(GgufConfig& config) {
  return config.Int("*.nextn_predict_layers", 0, kMostLayers, 0);
}

// What GGUF's metadata leaves out (biases, a tied head) shows in which tensors there are.
ModelSpec DenseFromGguf(GgufConfig& config, const Checkpoint& checkpoint, bool experts) {
  if (!experts && config.Int("*.expert_count", 0, kMostExperts, 0) > 0) {
    config.Refuse("*.expert_count", "is not 0: this architecture's mixtures are not served");
  }
  RefuseForeignGgufKeys(config);
  const int64_t hidden = config.Int("*.embedding_length", 1, kMostHidden);
  const int64_t heads = config.Int("*.attention.head_count", 1, kMostHeads);
  const Attention attention{
      .heads = heads,
      .kv_heads = config.Int("*.attention.head_count_kv", 1, kMostHeads, heads),
      .head_dim = config.Int("*.attention.key_length", 2, kMostHeadDim, hidden / heads),
      .qkv_bias = checkpoint.Find("blk.0.attn_q.bias") != nullptr ||
                  checkpoint.Find("blk.0.attn_qkv.bias") != nullptr,
      .out_bias = checkpoint.Find("blk.0.attn_output.bias") != nullptr,
  };
  const bool latent = config.Has("*.attention.kv_lora_rank");
  if (!latent && config.Int("*.attention.value_length", 1, kMostHeadDim, attention.head_dim) !=
                     attention.head_dim) {
    config.Refuse("*.attention.value_length", "is not the key length");
  }
  const Mlp mlp{.inner = config.Int("*.feed_forward_length", 1, kMostHidden),
                .bias = checkpoint.Find("blk.0.ffn_up.bias") != nullptr};
  // Converters write what the configuration has, which may be both.
  constexpr std::string_view kRms = "*.attention.layer_norm_rms_epsilon",
                             kCentred = "*.attention.layer_norm_epsilon";
  const bool rms = config.Has(kRms) || !config.Has(kCentred);
  const double eps = config.Float(rms ? kRms : kCentred, 0, kMostEps);
  const NormSpec norm{.norm{static_cast<float>(eps)}};
  const int64_t blocks = config.Int("*.block_count", 1, kMostLayers);
  const int64_t further = NextTokenLayers(config);
  if (further >= blocks) {
    config.Refuse("*.nextn_predict_layers", Cat(further, " is not less than block_count ", blocks));
  }
  ModelSpec spec = MakeSpec(attention, mlp, norm, std::max<int64_t>(1, blocks - further));
  const StoredTensor* embedding = checkpoint.Find("token_embd.weight");
  spec.vocabulary = config.Int("*.vocab_size", 1, kMostVocabulary,
                               embedding != nullptr ? embedding->rows() : kMostVocabulary);
  spec.hidden = hidden;
  spec.context = config.Int("*.context_length", 1, kMostContext, kUnstatedContext);
  spec.tied_head = checkpoint.Find("output.weight") == nullptr;
  return spec;
}

void RequireActivation(HfConfig& config, std::string_view key,
                       const std::vector<std::string>& served) {
  const std::string activation = config.String(key, served[0]);
  if (std::find(served.begin(), served.end(), activation) == served.end()) {
    config.Refuse(key, Cat("'", activation, "' is not ", served[0]));
  }
}

Activation ActivationFromHf(HfConfig& config, std::string_view key, std::string_view fallback) {
  struct Named {
    std::string_view name;
    Activation activation;
  };
  constexpr Named kNamed[] = {
      {"silu", Activation::kSilu},          {"swish", Activation::kSilu},
      {"gelu", Activation::kGelu},          {"gelu_python", Activation::kGelu},
      {"gelu_new", Activation::kGeluTanh},  {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"gelu_fast", Activation::kGeluTanh}, {"relu2", Activation::kRelu2}};
  const std::string name = config.String(key, fallback);
  for (const Named& named : kNamed) {
    if (named.name == name) return named.activation;
  }
  config.Refuse(key, Cat("'", name, "' is not served"));
  return Activation::kSilu;
}

void RequireFalse(HfConfig& config, const std::vector<std::string_view>& keys) {
  for (const std::string_view key : keys) {
    if (config.Bool(key, false)) config.Refuse(key, "is not served");
  }
}

std::vector<bool> SlidingLayers(HfConfig& config, int64_t layers,
                                bool (*fallback)(int64_t layer, int64_t argument),
                                int64_t argument) {
  std::vector<bool> sliding;
  if (!config.Has("layer_types")) {
    for (int64_t i = 0; i < layers; ++i) sliding.push_back(fallback(i, argument));
    return sliding;
  }
  for (const std::string& type : config.Strings("layer_types")) {
    sliding.push_back(type == "sliding_attention");
    if (type != "sliding_attention" && type != "full_attention") {
      config.Refuse("layer_types", Cat("has '", type, "', which is not served"));
    }
  }
  if (static_cast<int64_t>(sliding.size()) != layers) {
    config.Refuse("layer_types", Cat("is not a list of ", layers, " names"));
    sliding.resize(layers);
  }
  return sliding;
}

void AddWindows(HfConfig& config, ModelSpec& spec, bool (*slides)(int64_t, int64_t)) {
  constexpr int64_t kDefaultWindow = 4096, kDefaultLayers = 28;
  const bool asked = config.Bool("use_sliding_window", false) && !config.IsNull("sliding_window");
  if (!asked) slides = [](int64_t, int64_t) { return false; };
  const int64_t layers =
      asked ? config.Int("max_window_layers", 0, kMostContext, kDefaultLayers) : 0;
  const std::vector<bool> sliding =
      SlidingLayers(config, static_cast<int64_t>(spec.blocks.size()), slides, layers);
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    if (!sliding[i]) continue;
    AttentionOf(spec.blocks[i]).window =
        config.Int("sliding_window", 1, kMostContext, kDefaultWindow);
    if (!asked) {
      config.Refuse("layer_types", "has sliding_attention without a window");
      return;
    }
  }
}

void AddUpperWindows(HfConfig& config, ModelSpec& spec) {
  AddWindows(config, spec, [](int64_t layer, int64_t full) { return layer >= full; });
}

NameTable HfNames(std::string_view prefix) {
  const std::string layer = Cat(prefix, "layers.*.");
  return {.rules = {{"embed", Cat(prefix, "embed_tokens")},
                    {"head", "lm_head"},
                    {"final_norm", Cat(prefix, "norm")},
                    {"*.norm1", layer + "input_layernorm"},
                    {"*.attn.q", layer + "self_attn.q_proj"},
                    {"*.attn.k", layer + "self_attn.k_proj"},
                    {"*.attn.v", layer + "self_attn.v_proj"},
                    {"*.attn.o", layer + "self_attn.o_proj"},
                    {"*.norm2", layer + "post_attention_layernorm"},
                    {"*.mlp.gate", layer + "mlp.gate_proj"},
                    {"*.mlp.up", layer + "mlp.up_proj"},
                    {"*.mlp.down", layer + "mlp.down_proj"}},
          .ignored = {layer + "self_attn.rotary_emb.inv_freq", Cat(prefix, "rotary_emb.inv_freq"),
                      "lm_head.weight"}};  // a tied head may be stored too
}

void Rename(NameTable& names, const std::string& slot, const std::string& tensor) {
  SetRule(names, {.slot = slot, .tensor = tensor});
}

void FuseQkv(NameTable& names, const std::string& tensor, Fusion fusion) {
  for (NameRule& rule : names.rules) {
    if (rule.slot != "*.attn.q" && rule.slot != "*.attn.k" && rule.slot != "*.attn.v") continue;
    rule.tensor = tensor;
    rule.fusion = fusion;
  }
}

NameRule ExpertRule(std::string_view part) {
  return {.slot = Cat("*.mlp.expert_", part),
          .tensor = Cat("blk.*.ffn_", part, "_exps"),
          .joined = Cat("blk.*.ffn_", part, ".#")};
}

NameTable GgufNames(RowOrder order) {
  return {.rules = {{"embed", "token_embd"},
                    {"head", "output"},
                    {"final_norm", "output_norm"},
                    {"*.norm1", "blk.*.attn_norm"},
                    {"*.attn.q", "blk.*.attn_q", order, "blk.*.attn_qkv"},
                    {"*.attn.k", "blk.*.attn_k", order, "blk.*.attn_qkv"},
                    {"*.attn.v", "blk.*.attn_v", RowOrder::kAsStored, "blk.*.attn_qkv"},
                    {"*.attn.o", "blk.*.attn_output"},
                    {"*.norm2", "blk.*.ffn_norm"},
                    {"*.mlp.gate", "blk.*.ffn_gate"},
                    {"*.mlp.up", "blk.*.ffn_up"},
                    {"*.mlp.down", "blk.*.ffn_down"},
                    {"*.mlp.router", "blk.*.ffn_gate_inp"},
                    // Files of 2023 have a tensor for every expert.
                    ExpertRule("gate"),
                    ExpertRule("up"),
                    ExpertRule("down"),
                    {"*.mlp.choice", "blk.*.exp_probs_b"},
                    {"*.mlp.shared.gate", "blk.*.ffn_gate_shexp"},
                    {"*.mlp.shared.up", "blk.*.ffn_up_shexp"},
                    {"*.mlp.shared.down", "blk.*.ffn_down_shexp"},
                    {"*.mlp.shared_gate", "blk.*.ffn_gate_inp_shexp"}},
          // The first three are read with the rope.
          .ignored = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight",
                      "blk.*.attn_rot_embd"}};
}

void FuseMlp(NameTable& names, const std::string& tensor) {
  SetRule(names, {"*.mlp.gate", tensor});
  SetRule(names, {"*.mlp.up", tensor});
}

void SandwichNames(NameTable& names, const std::string& norm1_out, const std::string& norm2,
                   const std::string& norm2_out) {
  SetRule(names, {"*.norm1_out", norm1_out});
  SetRule(names, {"*.norm2", norm2});
  SetRule(names, {"*.norm2_out", norm2_out});
}

void ExpertNames(NameTable& names, const std::string& router, const std::string& gate,
                 const std::string& up, const std::string& down) {
  SetRule(names, {"*.mlp.router", router});
  SetRule(names, {"*.mlp.expert_gate", gate});
  SetRule(names, {"*.mlp.expert_up", up});
  SetRule(names, {"*.mlp.expert_down", down});
}

void HeadNormNames(NameTable& names, const std::string& q_norm, const std::string& k_norm) {
  SetRule(names, {"*.attn.q_norm", q_norm});
  SetRule(names, {"*.attn.k_norm", k_norm});
}

}  // namespace shardline
