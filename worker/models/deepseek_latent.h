// What DeepSeek's second and third generations share: latent attention, experts after some dense
// layers, and GGUF's one architecture for both. Sources: https://arxiv.org/abs/2405.04434,
// https://arxiv.org/abs/2412.19437
#pragma once

#include "worker/models/dense.h"

namespace shardline {

// What the reference's configuration class says of a key that is left out.
struct DeepseekDefaults {
  HfDefaults sizes;
  int64_t experts = 0, active = 0, expert_inner = 0, shared = 0;  // active 0: required
  int64_t groups = 1, active_groups = 1, dense_layers = 0;
  double scale = 1;  // of experts' weights
};

// All but what the routers of the two do differently: `router` has it.
ModelSpec DeepseekFromHf(HfConfig& config, const DeepseekDefaults& defaults, RopeStyle style,
                         const Router& router);
NameTable DeepseekHfNames();

// Files that tell of the absorbed key (`key_length_mla`) and those before them, either router.
ModelSpec DeepseekFromGguf(GgufConfig& config, const Checkpoint& checkpoint);
NameTable DeepseekGgufNames(const Checkpoint& checkpoint);

}  // namespace shardline
