// Rotary positions as configurations write them.
#pragma once

#include "worker/layers/rope.h"
#include "worker/weights/checkpoint.h"

namespace shardline {

// `rope_parameters`, or the older `rope_scaling` with `rope_theta` beside it. What is missing or
// not understood is noted in `config`.
Rope RopeFromHf(HfConfig& config, int64_t head_dim, int64_t max_positions);
// "*.rope.*" and the tensor rope_freqs.weight.
Rope RopeFromGguf(GgufConfig& config, const Checkpoint& checkpoint, int64_t head_dim,
                  int64_t max_positions);

}  // namespace shardline
