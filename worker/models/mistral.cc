// Mistral 7B, Nemo, Small, Ministral: Llama with a window. GGUF files of them are of architecture
// llama. Defaults are those of transformers' MistralConfig. Source:
// https://arxiv.org/abs/2310.06825
#include <array>

#include "worker/models/dense.h"
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
                               .context = 131072};
constexpr int64_t kDefaultWindow = 4096, kMostWindow = int64_t{1} << 30;

ModelSpec MistralFromHf(HfConfig& config) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  ModelSpec spec = DenseFromHf(config, kDefaults);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context);
  if (!config.IsNull("sliding_window")) {  // null: no window; absent: the class's
    attention.window = config.Int("sliding_window", 1, kMostWindow, kDefaultWindow);
  }
  Spread(spec);
  return spec;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"MistralForCausalLM"};

}  // namespace

const Family& MistralFamily() {
  static const Family kFamily{.name = "mistral",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "",
                              .from_hf = MistralFromHf,
                              .from_gguf = nullptr,
                              .hf_names = [](const Checkpoint&) { return HfNames("model."); },
                              .gguf_names = nullptr,
                              .models = "Mistral 7B, Nemo, Small, Ministral",
                              .gguf_as = "llama"};
  return kFamily;
}

}  // namespace shardline
