// Gemma 1 and CodeGemma: Llama with norm weights stored as their distance from one, GELU, and
// scaled embeddings. Defaults are those of transformers' GemmaConfig. Source:
// https://arxiv.org/abs/2403.08295
#include "worker/models/gemma.h"

#include <array>
#include <cmath>

#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {

void MakeGemma(ModelSpec& spec, VectorForm form) {
  spec.final_norm.norm.rounding = NormRounding::kOnce;
  spec.final_norm.weight = form;
  spec.embedding_scale = std::sqrt(static_cast<double>(spec.hidden));
  spec.round_embedding_scale = true;
  spec.blocks[0].norm = spec.final_norm;
  MlpOf(spec.blocks[0]).activation = Activation::kGeluTanh;
}

void RefuseForeignGemmaKeys(HfConfig& config) {
  if (config.Bool("use_bidirectional_attention", false)) {
    config.Refuse("use_bidirectional_attention", "is not served");
  }
}

double GemmaScale(HfConfig& config) {
  return 1.0 / std::sqrt(config.Float("query_pre_attn_scalar", kLeastFactor, kMostFactor, 256));
}

double GemmaScale(const ModelSpec& spec, size_t largest) {
  const auto& attention = std::get<Attention>(spec.blocks[0].mixer);
  const int64_t divisor =
      spec.blocks.size() == largest ? spec.hidden / attention.heads : attention.head_dim;
  return 1.0 / std::sqrt(static_cast<double>(divisor));
}

double GemmaCap(HfConfig& config, std::string_view key, double fallback) {
  return config.IsNull(key) ? 0 : config.Float(key, 0, kMostFactor, fallback);
}

std::vector<bool> GemmaSlidingLayers(GgufConfig& config, size_t layers, int64_t fallback) {
  constexpr std::string_view kKey = "*.attention.sliding_window_pattern";
  constexpr int64_t kMostPattern = 1 << 16;
  std::vector<bool> sliding(layers);
  const std::vector<double> listed = config.Floats(kKey);
  if (!listed.empty() && listed.size() != layers) {
    config.Refuse(kKey, Cat("is not a list of ", layers, " values"));
    return sliding;
  }
  const int64_t pattern = listed.empty() ? config.Int(kKey, 0, kMostPattern, fallback) : 0;
  for (size_t i = 0; i < layers; ++i) {
    const bool full = pattern != 0 && (static_cast<int64_t>(i) + 1) % pattern == 0;
    sliding[i] = listed.empty() ? !full : listed[i] != 0;
  }
  return sliding;
}

namespace {

constexpr HfDefaults kDefaults{.vocabulary = 256000,
                               .hidden = 3072,
                               .inner = 24576,
                               .layers = 28,
                               .heads = 16,
                               .kv_heads = 16,
                               .head_dim = 256,
                               .context = 8192,
                               .tied_head = true};

ModelSpec GemmaFromHf(HfConfig& config) {
  RefuseForeignGemmaKeys(config);
  // The first checkpoints say "gelu", and mean the form that approximates it; `hidden_activation`
  // is not read by the reference.
  RequireActivation(config, "hidden_act", {"gelu_pytorch_tanh", "gelu"});
  ModelSpec spec = DenseFromHf(config, kDefaults);
  MakeGemma(spec, VectorForm::kPlusOne);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.qkv_bias = attention.out_bias = config.Bool("attention_bias", false);
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context);
  Spread(spec);
  return spec;
}

ModelSpec GemmaFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  MakeGemma(spec, VectorForm::kExact);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context);
  Spread(spec);
  return spec;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"GemmaForCausalLM"};

}  // namespace

const Family& GemmaFamily() {
  static const Family kFamily{
      .name = "gemma",
      .hf_architectures = kArchitectures,
      .gguf_architecture = "gemma",
      .from_hf = GemmaFromHf,
      .from_gguf = GemmaFromGguf,
      .hf_names = [](const Checkpoint&) { return HfNames("model."); },
      .gguf_names = [](const Checkpoint&) { return GgufNames(RowOrder::kAsStored); },
      .models = "Gemma 1, CodeGemma"};
  return kFamily;
}

}  // namespace shardline
