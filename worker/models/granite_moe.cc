// Granite with a mixture of experts in every layer, and in some models a shared MLP beside it.
// Defaults are those of transformers' GraniteMoeConfig and GraniteMoeSharedConfig. Source:
// https://github.com/ibm-granite/granite-3.0-language-models
#include <array>

#include "worker/models/dense.h"
#include "worker/models/experts.h"
#include "worker/models/granite.h"
#include "worker/models/registry.h"

namespace shardline {
namespace {

constexpr int64_t kMostInner = 1 << 20;
constexpr Router kRouter{.routing = {.renormalise = true}};

ModelSpec GraniteMoeFromHf(HfConfig& config) {
  ModelSpec spec = GraniteFromHf(config);
  Moe moe{.experts = config.Int("num_local_experts", 1, kMostExperts, 8),
          .active = config.Int("num_experts_per_tok", 1, kMostExperts, 2),
          .inner = MlpOf(spec.blocks[0]).inner,
          .router = kRouter};
  const int64_t shared = config.Int("shared_intermediate_size", 0, kMostInner, 0);
  if (shared > 0) moe.shared = Mlp{.inner = shared};
  PlaceExperts(spec, moe, [](int64_t) { return true; });
  return spec;
}

ModelSpec GraniteMoeFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  ModelSpec spec = GraniteFromGguf(config, checkpoint, /*experts=*/true);
  PlaceExpertsFromGguf(config, spec, {.router = kRouter, .shared = Mlp{}});
  return spec;
}

NameTable GraniteMoeHfNames(const Checkpoint&) {
  NameTable names = HfNames("model.");
  const std::string layer = "model.layers.*.", mixture = layer + "block_sparse_moe.";
  ExpertNames(names, mixture + "router.layer", mixture + "input_linear", mixture + "input_linear",
              mixture + "output_linear");
  SetRule(names, {"*.mlp.shared.gate", layer + "shared_mlp.input_linear"});
  SetRule(names, {"*.mlp.shared.up", layer + "shared_mlp.input_linear"});
  SetRule(names, {"*.mlp.shared.down", layer + "shared_mlp.output_linear"});
  return names;
}

constexpr std::array<std::string_view, 2> kArchitectures = {"GraniteMoeForCausalLM",
                                                            "GraniteMoeSharedForCausalLM"};

}  // namespace

const Family& GraniteMoeFamily() {
  static const Family kFamily{
      .name = "granite_moe",
      .hf_architectures = kArchitectures,
      .gguf_architecture = "granitemoe",
      .from_hf = GraniteMoeFromHf,
      .from_gguf = GraniteMoeFromGguf,
      .hf_names = GraniteMoeHfNames,
      .gguf_names = [](const Checkpoint&) { return GgufNames(RowOrder::kInterleavedHeads); },
      .models = "Granite 3 1B-A400M, 3B-A800M"};
  return kFamily;
}

}  // namespace shardline
