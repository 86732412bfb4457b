// Rotary positions as configurations write them.
#pragma once

#include "worker/layers/rope.h"
#include "worker/weights/checkpoint.h"

namespace shardline {

// Where a rope stands in config.json.
struct HfRopeKeys {
  std::string object;  // empty: `rope_scaling`, or `rope_parameters` where that is absent
  std::string theta_key = "rope_theta";  // of a theta beside the object
  double theta = 10000.0;                // where neither has one
  // `partial_rotary_factor` where none is given; 0: the family rotates whole heads.
  double partial = 0;
  // Phi-3: the only scaled rope is longrope, under any of its names.
  bool only_longrope = false;
  // `original_max_position_embeddings` of the top level where that has none; 0: the object's.
  int64_t original_positions = 0;
};

// What is missing or not understood is noted in `config`.
Rope RopeFromHf(HfConfig& config, int64_t head_dim, int64_t max_positions,
                const HfRopeKeys& keys = {});
// "*.rope.*" and the tensors rope_freqs and rope_factors_*. `partial`: whether the family may
// rotate a part of a head.
Rope RopeFromGguf(GgufConfig& config, const Checkpoint& checkpoint, int64_t head_dim,
                  int64_t max_positions, bool partial = false);

}  // namespace shardline
