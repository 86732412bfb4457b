// Gemma 2: Gemma with norms on both sides of every part, soft caps of scores and logits, and a
// window in every other layer. Defaults are those of transformers' Gemma2Config. Source:
// https://arxiv.org/abs/2408.00118
#include <array>

#include "worker/models/gemma.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 256000,
                               .hidden = 2304,
                               .inner = 9216,
                               .layers = 26,
                               .heads = 8,
                               .kv_heads = 4,
                               .head_dim = 256,
                               .context = 8192,
                               .tied_head = true};
constexpr int64_t kDefaultWindow = 4096, kMostWindow = int64_t{1} << 30;
constexpr double kScoreCap = 50, kLogitCap = 30;
constexpr size_t k27BLayers = 46;

// Blocks like the first, with the window where `sliding` says.
void SpreadLayers(ModelSpec& spec, const std::vector<bool>& sliding, int64_t window) {
  spec.blocks[0].residual = Residual::kSandwich;
  Spread(spec);
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    if (sliding[i]) AttentionOf(spec.blocks[i]).window = window;
  }
}

ModelSpec Gemma2FromHf(HfConfig& config) {
  RefuseForeignGemmaKeys(config);
  RequireActivation(config, "hidden_activation", {"gelu_pytorch_tanh"});
  ModelSpec spec = DenseFromHf(config, kDefaults);
  MakeGemma(spec, VectorForm::kPlusOne);
  spec.logit_cap = GemmaCap(config, "final_logit_softcapping", kLogitCap);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.qkv_bias = attention.out_bias = config.Bool("attention_bias", false);
  attention.scale = GemmaScale(config);
  attention.score_cap = GemmaCap(config, "attn_logit_softcapping", kScoreCap);
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context);
  if (config.IsNull("sliding_window")) config.Refuse("sliding_window", "is null");
  const auto alternate = [](int64_t layer, int64_t) { return layer % 2 == 0; };
  SpreadLayers(spec, SlidingLayers(config, static_cast<int64_t>(spec.blocks.size()), alternate, 0),
               config.Int("sliding_window", 1, kMostWindow, kDefaultWindow));
  return spec;
}

ModelSpec Gemma2FromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  MakeGemma(spec, VectorForm::kExact);
  spec.logit_cap = config.Float("*.final_logit_softcapping", 0, kMostFactor, kLogitCap);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.scale = GemmaScale(spec, k27BLayers);
  attention.score_cap = config.Float("*.attn_logit_softcapping", 0, kMostFactor, kScoreCap);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context);
  SpreadLayers(spec, GemmaSlidingLayers(config, spec.blocks.size(), 2),
               config.Int("*.attention.sliding_window", 0, kMostWindow, kDefaultWindow));
  return spec;
}

NameTable Gemma2HfNames(const Checkpoint&) {
  NameTable names = HfNames("model.");
  SandwichNames(names, "model.layers.*.post_attention_layernorm",
                "model.layers.*.pre_feedforward_layernorm",
                "model.layers.*.post_feedforward_layernorm");
  return names;
}

NameTable Gemma2GgufNames(const Checkpoint&) {
  NameTable names = GgufNames(RowOrder::kAsStored);
  SandwichNames(names, "blk.*.post_attention_norm", "blk.*.ffn_norm", "blk.*.post_ffw_norm");
  return names;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"Gemma2ForCausalLM"};

}  // namespace

const Family& Gemma2Family() {
  static const Family kFamily{.name = "gemma2",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "gemma2",
                              .from_hf = Gemma2FromHf,
                              .from_gguf = Gemma2FromGguf,
                              .hf_names = Gemma2HfNames,
                              .gguf_names = Gemma2GgufNames,
                              .models = "Gemma 2"};
  return kFamily;
}

}  // namespace shardline
