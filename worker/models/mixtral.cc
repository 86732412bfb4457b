// Mixtral: Mistral with a mixture of experts in every layer. GGUF files of it are of architecture
// llama. Defaults are those of transformers' MixtralConfig. Source:
// https://arxiv.org/abs/2401.04088
#include <array>

#include "worker/models/dense.h"
#include "worker/models/experts.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 32000,
                               .hidden = 4096,
                               .inner = 14336,
                               .layers = 32,
                               .heads = 32,
                               .kv_heads = 8,
                               .context = 131072,
                               .norm_eps = 1e-5};
constexpr int64_t kMostWindow = int64_t{1} << 30;

ModelSpec MixtralFromHf(HfConfig& config) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  ModelSpec spec = DenseFromHf(config, kDefaults);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context, {.theta = 1e6});
  if (config.Has("sliding_window")) {
    attention.window = config.Int("sliding_window", 1, kMostWindow);
  }
  spec.blocks[0].ffn = Moe{.experts = config.Int("num_local_experts", 1, kMostExperts, 8),
                           .active = config.Int("num_experts_per_tok", 1, kMostExperts, 2),
                           .inner = MlpOf(spec.blocks[0]).inner,
                           .router = {.routing = {.renormalise = true}, .weights_f32 = true}};
  Spread(spec);
  return spec;
}

NameTable MixtralHfNames(const Checkpoint&) {
  NameTable names = HfNames("model.");
  const std::string expert = "model.layers.*.block_sparse_moe.experts.#.";
  ExpertNames(names, "model.layers.*.block_sparse_moe.gate", expert + "w1", expert + "w3",
              expert + "w2");
  return names;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"MixtralForCausalLM"};

}  // namespace

const Family& MixtralFamily() {
  static const Family kFamily{.name = "mixtral",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "",
                              .from_hf = MixtralFromHf,
                              .from_gguf = nullptr,
                              .hf_names = MixtralHfNames,
                              .gguf_names = nullptr,
                              .models = "Mixtral 8x7B, 8x22B",
                              .gguf_as = "llama"};
  return kFamily;
}

}  // namespace shardline
