// Phi-3, Phi-3.5 and Phi-4: Llama with fused products, a window, and longrope over a part of a
// head. Defaults are those of transformers' Phi3Config. Source: https://arxiv.org/abs/2404.14219
#include <array>

#include "worker/models/dense.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 32064,
                               .hidden = 3072,
                               .inner = 8192,
                               .layers = 32,
                               .heads = 32,
                               .context = 4096,
                               .norm_eps = 1e-5};
constexpr int64_t kOriginalPositions = 4096, kMostWindow = int64_t{1} << 30;

ModelSpec Phi3FromHf(HfConfig& config) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  ModelSpec spec = DenseFromHf(config, kDefaults);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope =
      RopeFromHf(config, attention.head_dim, spec.context,
                 {.partial = 1.0, .only_longrope = true, .original_positions = kOriginalPositions});
  if (config.Has("sliding_window")) {
    attention.window = config.Int("sliding_window", 1, kMostWindow);
  }
  Spread(spec);
  return spec;
}

// The window is the configuration's, 0 for none.
ModelSpec Phi3FromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context,
                                /*partial=*/true);
  attention.window = config.Int("*.attention.sliding_window", 0, kMostWindow, 0);
  Spread(spec);
  return spec;
}

NameTable Phi3HfNames(const Checkpoint&) {
  NameTable names = HfNames("model.");
  FuseQkv(names, "model.layers.*.self_attn.qkv_proj", Fusion::kStacked);
  FuseMlp(names, "model.layers.*.mlp.gate_up_proj");
  return names;
}

NameTable Phi3GgufNames(const Checkpoint&) {
  NameTable names = GgufNames(RowOrder::kAsStored);
  FuseMlp(names, "blk.*.ffn_up");
  return names;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"Phi3ForCausalLM"};

}  // namespace

const Family& Phi3Family() {
  static const Family kFamily{.name = "phi3",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "phi3",
                              .from_hf = Phi3FromHf,
                              .from_gguf = Phi3FromGguf,
                              .hf_names = Phi3HfNames,
                              .gguf_names = Phi3GgufNames,
                              .models = "Phi-3, Phi-3.5, Phi-4"};
  return kFamily;
}

}  // namespace shardline
