// DeepSeek V3 and R1, Moonlight and Kimi-K2: the second generation with a router of sigmoids, whose
// choice a bias moves. Layers that predict further tokens are not read. Defaults are those of
// transformers' DeepseekV3Config. Source: https://arxiv.org/abs/2412.19437
#include <array>

#include "worker/models/deepseek_latent.h"
#include "worker/models/experts.h"
#include "worker/models/registry.h"

namespace shardline {
namespace {

constexpr DeepseekDefaults kDefaults{.sizes = {.vocabulary = 129280,
                                               .hidden = 7168,
                                               .inner = 18432,
                                               .layers = 61,
                                               .heads = 128,
                                               .kv_heads = 128,
                                               .head_dim = 64,
                                               .context = 4096},
                                     .experts = 256,
                                     .active = 8,
                                     .expert_inner = 2048,
                                     .shared = 1,
                                     .dense_layers = 3,
                                     .scale = 2.5};
constexpr int64_t kMostLayers = 1 << 10;

ModelSpec DeepseekV3FromHf(HfConfig& config) {
  if (config.String("scoring_func", "sigmoid") != "sigmoid") {
    config.Refuse("scoring_func", "is not sigmoid");
  }
  if (config.String("topk_method", "noaux_tc") != "noaux_tc") {
    config.Refuse("topk_method", "is not noaux_tc");
  }
  const Router router{
      .routing = {.scoring = Scoring::kSigmoid,
                  .renormalise = config.Bool("norm_topk_prob", true),
                  .epsilon = 1e-20f,
                  .groups = config.Int("n_group", 1, kMostExpertGroups, 8),
                  .active_groups = config.Int("topk_group", 1, kMostExpertGroups, 4),
                  .group_score = GroupScore::kSumOfTwoLargest},
      .choice_bias = true};
  const bool pairs = config.Bool("rope_interleave", true);
  return DeepseekFromHf(config, kDefaults, pairs ? RopeStyle::kInterleaved : RopeStyle::kHalf,
                        router);
}

NameTable DeepseekV3HfNames(const Checkpoint& checkpoint) {
  NameTable names = DeepseekHfNames();
  SetRule(names, {"*.mlp.choice.bias", "model.layers.*.mlp.gate.e_score_correction_bias"});
  HfConfig& config = *checkpoint.hf();
  const int64_t layers = config.Int("num_hidden_layers", 1, kMostLayers, kDefaults.sizes.layers);
  const int64_t more = config.Int("num_nextn_predict_layers", 0, kMostLayers, 1);
  for (int64_t i = layers; i < layers + more; ++i) {
    names.ignored.push_back(Cat("model.layers.", i, ".**"));
  }
  return names;
}

constexpr std::array<std::string_view, 1> kArchitectures = {"DeepseekV3ForCausalLM"};

}  // namespace

const Family& DeepseekV3Family() {
  static const Family kFamily{.name = "deepseek_v3",
                              .hf_architectures = kArchitectures,
                              .from_hf = DeepseekV3FromHf,
                              .hf_names = DeepseekV3HfNames,
                              .models = "DeepSeek V3, R1",
                              .gguf_as = "deepseek2"};
  return kFamily;
}

}  // namespace shardline
