// Gemma 3, text: norms on both sides of every part, norms of heads, and five sliding layers with a
// rope of their own to each full one. From text-only checkpoints, and from the language model
// inside the ones that see. Defaults are those of transformers' Gemma3TextConfig. Source:
// https://arxiv.org/abs/2503.19786
#include <array>

#include "worker/models/gemma.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 262208,
                               .hidden = 2304,
                               .inner = 9216,
                               .layers = 26,
                               .heads = 8,
                               .kv_heads = 4,
                               .head_dim = 256,
                               .context = 131072,
                               .tied_head = true};
constexpr int64_t kDefaultWindow = 4096, kMostWindow = int64_t{1} << 30;
constexpr int64_t kDefaultPattern = 6, kMostPattern = 1 << 16;
constexpr double kFullTheta = 1e6, kSlidingTheta = 1e4;

// Every `pattern`th layer is full; with 0, none.
bool Slides(int64_t layer, int64_t pattern) { return pattern == 0 || (layer + 1) % pattern != 0; }

// What all Gemma 3 have in common, on a spec that has the sizes.
void MakeGemma3(ModelSpec& spec, VectorForm norm_weights) {
  MakeGemma(spec, norm_weights);
  spec.blocks[0].residual = Residual::kSandwich;
  AttentionOf(spec.blocks[0]).head_norm = spec.final_norm;
}

// Blocks like the first, whose rope is the full layers', with windows where `sliding` says.
void SpreadLayers(ModelSpec& spec, const std::vector<bool>& sliding, int64_t window,
                  const Rope& sliding_rope) {
  Spread(spec);
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    if (!sliding[i]) continue;
    AttentionOf(spec.blocks[i]).window = window;
    AttentionOf(spec.blocks[i]).rope = sliding_rope;
  }
}

void RefuseForeignKeys(HfConfig& config) {
  RefuseForeignGemmaKeys(config);
  RequireActivation(config, "hidden_activation", {"gelu_pytorch_tanh"});
  // The reference class has the key, and does not apply it.
  constexpr std::string_view kScoreCap = "attn_logit_softcapping";
  if (config.Has(kScoreCap)) config.Refuse(kScoreCap, "is not served");
  for (const std::string& key : config.Keys("rope_parameters")) {
    if (key != "full_attention" && key != "sliding_attention") {
      config.Refuse(Cat("rope_parameters.", key), "is not understood");
    }
  }
}

Rope FullRope(HfConfig& config, int64_t head_dim, int64_t context) {
  const double theta = config.Float("rope_theta", kFullTheta);
  HfRopeKeys keys{.object = "rope_parameters.full_attention", .theta = kFullTheta};
  if (!config.Keys("rope_scaling").empty()) {  // it goes on top of the other
    keys = {.object = "rope_scaling",
            .theta_key = "rope_parameters.full_attention.rope_theta",
            .theta = theta};
  }
  return RopeFromHf(config, head_dim, context, keys);
}

ModelSpec Gemma3FromHf(HfConfig& config) {
  const bool tied = config.Bool("tie_word_embeddings", true);  // the outermost is what counts
  const bool sees = !config.Keys("text_config").empty();
  config.Enter("text_config");
  RefuseForeignKeys(config);
  ModelSpec spec = DenseFromHf(config, kDefaults);
  spec.tied_head = tied;
  MakeGemma3(spec, VectorForm::kPlusOne);
  spec.logit_cap = GemmaCap(config, "final_logit_softcapping", 0);
  // The reference class of those that see leaves its logits as they are.
  if (sees && spec.logit_cap > 0) {
    config.Refuse("final_logit_softcapping", "is not served in a model that sees");
  }
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.qkv_bias = attention.out_bias = config.Bool("attention_bias", false);
  attention.scale = GemmaScale(config);
  attention.rope = FullRope(config, attention.head_dim, spec.context);
  const Rope sliding_rope = RopeFromHf(config, attention.head_dim, spec.context,
                                       {.object = "rope_parameters.sliding_attention",
                                        .theta_key = "rope_local_base_freq",
                                        .theta = kSlidingTheta});
  if (config.IsNull("sliding_window")) config.Refuse("sliding_window", "is null");
  const int64_t pattern = config.Int("sliding_window_pattern", 1, kMostPattern, kDefaultPattern);
  SpreadLayers(spec,
               SlidingLayers(config, static_cast<int64_t>(spec.blocks.size()), Slides, pattern),
               config.Int("sliding_window", 1, kMostWindow, kDefaultWindow), sliding_rope);
  return spec;
}

// The file says less than the configuration; the rest is what llama.cpp takes for granted: the
// pattern where there is a window, and by the number of layers how scores are scaled.
constexpr size_t k27BLayers = 62;

ModelSpec Gemma3FromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  constexpr std::string_view kScoreCap = "*.attn_logit_softcapping";
  if (config.Float(kScoreCap, 0) != 0) config.Refuse(kScoreCap, "is not served");
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  MakeGemma3(spec, VectorForm::kExact);
  spec.logit_cap = config.Float("*.final_logit_softcapping", 0, kMostFactor, 0);
  Attention& attention = AttentionOf(spec.blocks[0]);
  const size_t layers = spec.blocks.size();
  attention.scale = GemmaScale(spec, k27BLayers);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context);
  if (!config.Has("*.rope.freq_base")) attention.rope.theta = kFullTheta;
  const Rope sliding_rope{.theta = config.Float("*.rope.freq_base_swa", kSlidingTheta),
                          .rot_dim = attention.head_dim};
  const int64_t window = config.Int("*.attention.sliding_window", 0, kMostWindow, 0);
  const std::vector<bool> sliding =
      window > 0 ? GemmaSlidingLayers(config, layers, kDefaultPattern) : std::vector<bool>(layers);
  SpreadLayers(spec, sliding, window, sliding_rope);
  return spec;
}

// The language model of a checkpoint that sees has one of two prefixes, by the age of the file.
NameTable Gemma3HfNames(const Checkpoint& checkpoint) {
  std::string prefix = "model.";
  for (const char* other : {"language_model.model.", "model.language_model."}) {
    if (checkpoint.Find(Cat(other, "embed_tokens.weight")) != nullptr) prefix = other;
  }
  NameTable names = HfNames(prefix);
  const std::string layer = prefix + "layers.*.";
  for (NameRule& rule : names.rules) {
    if (rule.slot == "head" && prefix == "language_model.model.") {
      rule.tensor = "language_model.lm_head";
    }
  }
  SandwichNames(names, layer + "post_attention_layernorm", layer + "pre_feedforward_layernorm",
                layer + "post_feedforward_layernorm");
  HeadNormNames(names, layer + "self_attn.q_norm", layer + "self_attn.k_norm");
  for (const char* seeing : {"vision_tower.**", "multi_modal_projector.**", "model.vision_tower.**",
                             "model.multi_modal_projector.**", "language_model.lm_head.weight"}) {
    names.ignored.emplace_back(seeing);
  }
  return names;
}

NameTable Gemma3GgufNames(const Checkpoint&) {
  NameTable names = GgufNames(RowOrder::kAsStored);
  SandwichNames(names, "blk.*.post_attention_norm", "blk.*.ffn_norm", "blk.*.post_ffw_norm");
  HeadNormNames(names, "blk.*.attn_q_norm", "blk.*.attn_k_norm");
  return names;
}

constexpr std::array<std::string_view, 2> kArchitectures = {"Gemma3ForCausalLM",
                                                            "Gemma3ForConditionalGeneration"};

}  // namespace

const Family& Gemma3Family() {
  static const Family kFamily{.name = "gemma3",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "gemma3",
                              .from_hf = Gemma3FromHf,
                              .from_gguf = Gemma3FromGguf,
                              .hf_names = Gemma3HfNames,
                              .gguf_names = Gemma3GgufNames,
                              .models = "Gemma 3 (text), the language model of those that see"};
  return kFamily;
}

}  // namespace shardline
