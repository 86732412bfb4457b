// SamplingParams → the flat sampling record, with the model's defaults filled in.
#pragma once

#include <cstdint>
#include <optional>

#include "shardline/v1/inference.pb.h"
#include "shared/ipc/message.h"

namespace shardline {

// What the model's generation_config.json says; unset members take the contract's defaults.
struct SamplingDefaults {
  std::optional<float> temperature, top_p, min_p, typical_p, repetition_penalty;
  std::optional<uint32_t> top_k;
};

// A value is the request's, else the model's, else the contract's (temperature 1, filters and
// penalties off, repeat_last_n 64; -1 where the penalty is the model's alone). An unset seed stays
// 0.
FlatSampling ToFlat(const v1::SamplingParams& params, const SamplingDefaults& defaults);

}  // namespace shardline
