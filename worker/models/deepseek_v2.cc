// DeepSeek V2, V2-Lite and Coder-V2: latent attention; a softmax router, of the best groups alone
// where there are groups. GGUF's deepseek2 is this and the third generation. Defaults are those of
// transformers' DeepseekV2Config. Source: https://arxiv.org/abs/2405.04434
#include <array>

#include "worker/models/deepseek_latent.h"
#include "worker/models/experts.h"
#include "worker/models/registry.h"

namespace shardline {
namespace {

constexpr DeepseekDefaults kDefaults{.sizes = {.vocabulary = 102400,
                                               .hidden = 4096,
                                               .inner = 11008,
                                               .layers = 32,
                                               .heads = 32,
                                               .head_dim = 64,
                                               .context = 2048},
                                     .experts = 64,
                                     .expert_inner = 1407,
                                     .shared = 2};

ModelSpec DeepseekV2FromHf(HfConfig& config) {
  RequireFalse(config, {"mlp_bias"});
  if (config.String("scoring_func", "softmax") != "softmax") {
    config.Refuse("scoring_func", "is not softmax");
  }
  if (config.Bool("norm_topk_prob", false)) {  // in place of the scaling, or not at all
    config.Refuse("norm_topk_prob", "is not served: implementations differ in what it means here");
  }
  Router router;
  const std::string method = config.String("topk_method", "greedy");
  if (method == "group_limited_greedy") {
    router.routing.groups = config.Int("n_group", 1, kMostExpertGroups);
    router.routing.active_groups = config.Int("topk_group", 1, kMostExpertGroups);
  } else if (method != "greedy") {
    config.Refuse("topk_method", Cat("'", method, "' is not greedy or group_limited_greedy"));
  }
  return DeepseekFromHf(config, kDefaults, RopeStyle::kInterleaved, router);
}

NameTable DeepseekV2HfNames(const Checkpoint&) { return DeepseekHfNames(); }

constexpr std::array<std::string_view, 1> kArchitectures = {"DeepseekV2ForCausalLM"};

}  // namespace

const Family& DeepseekV2Family() {
  static const Family kFamily{.name = "deepseek_v2",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "deepseek2",
                              .from_hf = DeepseekV2FromHf,
                              .from_gguf = DeepseekFromGguf,
                              .hf_names = DeepseekV2HfNames,
                              .gguf_names = DeepseekGgufNames,
                              .models = "DeepSeek V2, V2-Lite, Coder V2",
                              .goldens = "deepseek_v2, q4_0_old_latents, q8_0_latents"};
  return kFamily;
}

}  // namespace shardline
