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
  double partial = 0;  // the share of a head that rotates where no key tells; 0: always all of it
};

// What is missing or not understood is noted in `config`.
Rope RopeFromHf(HfConfig& config, int64_t head_dim, int64_t max_positions,
                const HfRopeKeys& keys = {});
// "*.rope.*" and the tensor rope_freqs.weight.
Rope RopeFromGguf(GgufConfig& config, const Checkpoint& checkpoint, int64_t head_dim,
                  int64_t max_positions, bool partial = false);

}  // namespace shardline
