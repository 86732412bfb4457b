// What families with mixtures of experts share: which layers have one, what a GGUF file tells of
// it, and the names of shared experts.
#pragma once

#include <functional>
#include <string>

#include "worker/models/spec.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/name_map.h"

namespace shardline {

constexpr int64_t kMostExperts = 1 << 12;

// Gives `moe` to the blocks for whose number `sparse` is true; the others keep their MLP. After
// Spread.
void PlaceExperts(ModelSpec& spec, const Moe& moe, const std::function<bool(int64_t)>& sparse);
// Qwen's rule: every `decoder_sparse_step`th block, but for those that `mlp_only_layers` lists.
void PlaceExpertsBySteps(HfConfig& config, ModelSpec& spec, const Moe& moe);
// DeepSeek's: every `moe_layer_freq`th block from `first_k_dense_replace` on, which is
// `dense_layers` unless it is told.
void PlaceExpertsAfterDense(HfConfig& config, ModelSpec& spec, const Moe& moe,
                            int64_t dense_layers = 0);

// GGUF: in the blocks from `leading_dense_block_count` on, if the file tells of experts. `moe` says
// what the architecture has: the router and sizes, unless the file tells, and with a `shared` that
// there may be a shared MLP.
void PlaceExpertsFromGguf(GgufConfig& config, ModelSpec& spec, Moe moe);

// "<stem>gate_proj", "<stem>up_proj" and "<stem>down_proj".
void SharedExpertNames(NameTable& names, const std::string& stem);

}  // namespace shardline
