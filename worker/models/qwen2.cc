// Qwen2 and Qwen2.5: Llama with biases of queries, keys and values, and windows in the upper layers
// of the few checkpoints that ask for them. Defaults are those of transformers' Qwen2Config.
// Source: https://arxiv.org/abs/2407.10671
#include <array>

#include "worker/models/dense.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 151936,
                               .hidden = 4096,
                               .inner = 22016,
                               .layers = 32,
                               .heads = 32,
                               .kv_heads = 32,
                               .context = 32768};

ModelSpec Qwen2FromHf(HfConfig& config) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  ModelSpec spec = DenseFromHf(config, kDefaults);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.qkv_bias = true;
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context);
  Spread(spec);
  AddUpperWindows(config, spec);
  return spec;
}

ModelSpec Qwen2FromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context);
  Spread(spec);
  return spec;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"Qwen2ForCausalLM"};

}  // namespace

const Family& Qwen2Family() {
  static const Family kFamily{
      .name = "qwen2",
      .hf_architectures = kArchitectures,
      .gguf_architecture = "qwen2",
      .from_hf = Qwen2FromHf,
      .from_gguf = Qwen2FromGguf,
      .hf_names = [](const Checkpoint&) { return HfNames("model."); },
      .gguf_names = [](const Checkpoint&) { return GgufNames(RowOrder::kAsStored); },
      .models = "Qwen2, Qwen2.5"};
  return kFamily;
}

}  // namespace shardline
