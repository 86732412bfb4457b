// Llama 1 to 3.x and everything that shares its architecture: TinyLlama, SmolLM, Vicuna, CodeLlama,
// Yi, DeepSeek LLM, … Defaults are those of transformers' LlamaConfig. Source:
// https://arxiv.org/abs/2302.13971
#include <array>

#include "worker/models/dense.h"
#include "worker/models/experts.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

ModelSpec LlamaFromHf(HfConfig& config) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  ModelSpec spec = DenseFromHf(config, {.context = 2048});
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.qkv_bias = attention.out_bias = config.Bool("attention_bias", false);
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context);
  MlpOf(spec.blocks[0]).bias = config.Bool("mlp_bias", false);
  Spread(spec);
  return spec;
}

// Mistral's and Mixtral's files are of this architecture too; their converter drops the window.
ModelSpec LlamaFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint, /*experts=*/true);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context);
  Spread(spec);
  PlaceExpertsFromGguf(config, spec,
                       {.router = {.routing = {.renormalise = true}, .weights_f32 = true}});
  return spec;
}

// Yi's first files are of an architecture of their own, which differs in two names.
NameTable LlamaHfNames(const Checkpoint& checkpoint) {
  NameTable names = HfNames("model.");
  if (checkpoint.Find("model.layers.0.ln1.weight") != nullptr) {
    SetRule(names, {"*.norm1", "model.layers.*.ln1"});
    SetRule(names, {"*.norm2", "model.layers.*.ln2"});
  }
  return names;
}

constexpr std::array<std::string_view, 3> kArchitectures = {"LlamaForCausalLM", "LLaMAForCausalLM",
                                                            "YiForCausalLM"};

}  // namespace

const Family& LlamaFamily() {
  static const Family kFamily{
      .name = "llama",
      .hf_architectures = kArchitectures,
      .gguf_architecture = "llama",
      .from_hf = LlamaFromHf,
      .from_gguf = LlamaFromGguf,
      .hf_names = LlamaHfNames,
      .gguf_names = [](const Checkpoint&) { return GgufNames(RowOrder::kInterleavedHeads); },
      .models = "Llama 1 to 3.3, TinyLlama, SmolLM, Vicuna, CodeLlama, Yi, DeepSeek LLM, Helium 1",
      .goldens =
          "llama, llama3_rope, biases_linear, dynamic, longrope, multi, yarn, yi, bf16, "
          "biases_yarn, f16, f32, "
          "k_quants, linear, q4_0, q4_1, q5_0, q5_1, q8_0, rope_freqs"};
  return kFamily;
}

}  // namespace shardline
