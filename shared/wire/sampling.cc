#include "shared/wire/sampling.h"

namespace shardline {

FlatSampling ToFlat(const v1::SamplingParams& params, const SamplingDefaults& defaults) {
  FlatSampling flat{};
  flat.temperature =
      params.has_temperature() ? params.temperature() : defaults.temperature.value_or(1.0f);
  flat.top_p = params.has_top_p() ? params.top_p() : defaults.top_p.value_or(1.0f);
  flat.min_p = params.has_min_p() ? params.min_p() : defaults.min_p.value_or(0.0f);
  flat.typical_p = params.has_typical_p() ? params.typical_p() : defaults.typical_p.value_or(1.0f);
  flat.top_k = params.has_top_k() ? params.top_k() : defaults.top_k.value_or(0);
  flat.frequency_penalty = params.frequency_penalty();
  flat.presence_penalty = params.presence_penalty();
  flat.seed = params.seed();

  int32_t window = 64;
  flat.repetition_penalty = 1.0f;
  if (params.has_repetition_penalty()) {
    flat.repetition_penalty = params.repetition_penalty();
  } else if (defaults.repetition_penalty.has_value()) {
    flat.repetition_penalty = *defaults.repetition_penalty;
    window = -1;  // as the model's publisher measured it: over the whole context
  }
  flat.repeat_last_n = params.has_repeat_last_n() ? params.repeat_last_n() : window;
  return flat;
}

}  // namespace shardline
