// Mamba, and FalconMamba, which norms the parts that select. Defaults are those of transformers'
// MambaConfig and FalconMambaConfig. Source: https://arxiv.org/abs/2312.00752
//
// The residual stream is f32 unless residual_in_fp32 says otherwise. In transformers the head's
// input is then normed in f32 and every mixer's from a rounded stream, as here.
#include <array>

#include "worker/models/dense.h"
#include "worker/models/registry.h"

namespace shardline {
namespace {

constexpr int64_t kMostHidden = 1 << 20, kMostLayers = 1 << 10, kMostVocabulary = 1 << 24;
constexpr int64_t kMostContext = 1 << 30;

ModelSpec MakeSpec(const Mamba& mixer, double eps, bool wide, int64_t layers) {
  const NormSpec norm{.norm{static_cast<float>(eps)}};
  ModelSpec spec{.final_norm = norm, .wide_stream = wide};
  if (wide) spec.final_norm.norm.rounding = NormRounding::kOnce;
  spec.blocks.assign(layers, Block{.norm = norm, .mixer = mixer, .ffn = std::monostate{}});
  return spec;
}

ModelSpec FromHf(HfConfig& config, bool part_norms) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  const int64_t hidden = config.Int("hidden_size", 1, kMostHidden, 768);
  const int64_t expand = config.Int("expand", 1, kMostHidden, 2);
  const int64_t auto_rank = (hidden + 15) / 16;
  const bool is_auto = config.IsString("time_step_rank", "auto");
  Mamba mixer{
      .inner = config.Int("intermediate_size", 1, kMostHidden, expand * hidden),
      .state = config.Int("state_size", 1, kMostStates, 16),
      .taps = config.Int("conv_kernel", 2, kMostTaps, 4),
      .dt_rank = is_auto ? auto_rank : config.Int("time_step_rank", 1, kMostHidden, auto_rank),
      .bias = config.Bool("use_bias", false),
      .conv_bias = config.Bool("use_conv_bias", true)};
  if (part_norms)
    mixer.part_norm = static_cast<float>(config.Float("mixer_rms_eps", 0, kMostEps, 1e-6));
  ModelSpec spec = MakeSpec(mixer, config.Float("layer_norm_epsilon", 0, kMostEps, 1e-5),
                            config.Bool("residual_in_fp32", true),
                            config.Int("num_hidden_layers", 1, kMostLayers, 32));
  spec.vocabulary = config.Int("vocab_size", 1, kMostVocabulary, 50280);
  spec.hidden = hidden;
  spec.tied_head = config.Bool("tie_word_embeddings", true);
  return spec;
}

ModelSpec FromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  const double eps = config.Float("*.attention.layer_norm_rms_epsilon", 0, kMostEps);
  Mamba mixer{.inner = config.Int("*.ssm.inner_size", 1, kMostHidden),
              .state = config.Int("*.ssm.state_size", 1, kMostStates),
              .taps = config.Int("*.ssm.conv_kernel", 2, kMostTaps),
              .dt_rank = config.Int("*.ssm.time_step_rank", 1, kMostHidden),
              .bias = checkpoint.Find("blk.0.ssm_in.bias") != nullptr,
              .conv_bias = checkpoint.Find("blk.0.ssm_conv1d.bias") != nullptr,
              .a_form = VectorForm::kExact};
  if (config.Bool("*.ssm.dt_b_c_rms", false)) mixer.part_norm = static_cast<float>(eps);
  ModelSpec spec = MakeSpec(mixer, eps, true, config.Int("*.block_count", 1, kMostLayers));
  const StoredTensor* embedding = checkpoint.Find("token_embd.weight");
  spec.vocabulary = config.Int("*.vocab_size", 1, kMostVocabulary,
                               embedding != nullptr ? embedding->rows() : kMostVocabulary);
  spec.hidden = config.Int("*.embedding_length", 1, kMostHidden);
  spec.context = config.Int("*.context_length", 1, kMostContext, kMostContext);
  spec.tied_head = checkpoint.Find("output.weight") == nullptr;
  return spec;
}

NameTable MixerNames(std::string_view layer, const std::vector<std::string_view>& mixer) {
  const auto name = [&](size_t i) { return Cat(layer, mixer[i]); };
  return {.rules = {{"*.norm1", name(0)},
                    {"*.attn.x", name(1)},
                    {"*.attn.gate", name(1)},
                    {"*.attn.conv", name(2)},
                    {"*.attn.select", name(3)},
                    {"*.attn.dt", name(4)},
                    {"*.attn.a.weight", name(5)},
                    {"*.attn.d.weight", name(6)},
                    {"*.attn.o", name(7)}}};
}

NameTable HfMambaNames(const Checkpoint&) {
  NameTable names = MixerNames("backbone.layers.*.",
                               {"norm", "mixer.in_proj", "mixer.conv1d", "mixer.x_proj",
                                "mixer.dt_proj", "mixer.A_log", "mixer.D", "mixer.out_proj"});
  SetRule(names,
          {.slot = "embed", .tensor = "backbone.embeddings", .joined = "backbone.embedding"});
  Rename(names, "head", "lm_head");
  Rename(names, "final_norm", "backbone.norm_f");
  names.ignored = {"lm_head.weight"};  // a tied head may be stored too
  return names;
}

NameTable GgufMambaNames(const Checkpoint&) {
  NameTable names = MixerNames("blk.*.", {"attn_norm", "ssm_in", "ssm_conv1d", "ssm_x", "ssm_dt",
                                          "ssm_a", "ssm_d", "ssm_out"});
  Rename(names, "embed", "token_embd");
  Rename(names, "head", "output");
  Rename(names, "final_norm", "output_norm");
  return names;
}

constexpr std::array<std::string_view, 1> kMamba = {"MambaForCausalLM"};
constexpr std::array<std::string_view, 1> kFalconMamba = {"FalconMambaForCausalLM"};

}  // namespace

const Family& MambaFamily() {
  static const Family kFamily{.name = "mamba",
                              .hf_architectures = kMamba,
                              .gguf_architecture = "mamba",
                              .from_hf = [](HfConfig& config) { return FromHf(config, false); },
                              .from_gguf = FromGguf,
                              .hf_names = HfMambaNames,
                              .gguf_names = GgufMambaNames,
                              .models = "Mamba 130M to 2.8B",
                              .ranks = "up to its inner size"};
  return kFamily;
}

// GGUF files of it are of architecture mamba, and say that parts are normed.
const Family& FalconMambaFamily() {
  static const Family kFamily{.name = "falcon_mamba",
                              .hf_architectures = kFalconMamba,
                              .gguf_architecture = "",
                              .from_hf = [](HfConfig& config) { return FromHf(config, true); },
                              .from_gguf = nullptr,
                              .hf_names = HfMambaNames,
                              .gguf_names = nullptr,
                              .models = "Falcon Mamba 7B",
                              .gguf_as = "mamba",
                              .ranks = "up to its inner size"};
  return kFamily;
}

}  // namespace shardline
