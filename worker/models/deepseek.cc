// DeepSeek's first mixture of experts: Llama whose layers but for the first have a mixture, with
// shared experts beside it that are one MLP. Defaults are those of the DeepseekConfig that comes
// with its checkpoints. Source: https://arxiv.org/abs/2401.06066
#include <array>

#include "worker/models/dense.h"
#include "worker/models/experts.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 102400,
                               .hidden = 4096,
                               .inner = 11008,
                               .layers = 30,
                               .heads = 32,
                               .kv_heads = 32,
                               .context = 2048};
constexpr int64_t kMostInner = 1 << 20;
constexpr float kEpsilon = 1e-20f;  // beside the sum that weights are divided by

// Without n_routed_experts all layers are dense.
void AddExperts(HfConfig& config, ModelSpec& spec) {
  if (!config.Has("n_routed_experts")) return;
  Moe moe{.experts = config.Int("n_routed_experts", 1, kMostExperts),
          .active = config.Int("num_experts_per_tok", 1, kMostExperts),
          .inner = config.Int("moe_intermediate_size", 1, kMostInner, 1407)};
  // The only chosen expert's weight is not divided by itself.
  if (config.Bool("norm_topk_prob", false) && moe.active > 1) {
    moe.router.routing.renormalise = true;
    moe.router.routing.epsilon = kEpsilon;
  }
  const int64_t shared = config.Int("n_shared_experts", 0, kMostExperts, 0);
  if (shared > 0) moe.shared = Mlp{.inner = shared * moe.inner};
  PlaceExpertsAfterDense(config, spec, moe);
}

ModelSpec DeepseekFromHf(HfConfig& config) {
  RequireActivation(config, "hidden_act", {"silu", "swish"});
  if (config.String("scoring_func", "softmax") != "softmax") {
    config.Refuse("scoring_func", "is not softmax");
  }
  ModelSpec spec = DenseFromHf(config, kDefaults);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.qkv_bias = attention.out_bias = config.Bool("attention_bias", false);
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context);
  Spread(spec);
  AddExperts(config, spec);
  return spec;
}

ModelSpec DeepseekFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = DenseFromGguf(config, checkpoint, /*experts=*/true);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, spec.context);
  Spread(spec);
  PlaceExpertsFromGguf(config, spec, {.shared = Mlp{}});
  return spec;
}

NameTable DeepseekHfNames(const Checkpoint&) {
  NameTable names = HfNames("model.");
  const std::string mlp = "model.layers.*.mlp.", expert = mlp + "experts.#.";
  ExpertNames(names, mlp + "gate", expert + "gate_proj", expert + "up_proj", expert + "down_proj");
  SharedExpertNames(names, mlp + "shared_experts.");
  return names;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"DeepseekForCausalLM"};

}  // namespace

const Family& DeepseekFamily() {
  static const Family kFamily{
      .name = "deepseek",
      .hf_architectures = kArchitectures,
      .gguf_architecture = "deepseek",
      .from_hf = DeepseekFromHf,
      .from_gguf = DeepseekFromGguf,
      .hf_names = DeepseekHfNames,
      .gguf_names = [](const Checkpoint&) { return GgufNames(RowOrder::kInterleavedHeads); },
      .models = "DeepSeek MoE 16B",
      .goldens = "deepseek_moe"};
  return kFamily;
}

}  // namespace shardline
