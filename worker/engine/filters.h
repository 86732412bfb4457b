// From adjusted logits to one token: temperature, top_k, typical_p, top_p, min_p, draw. Each filter
// sees the survivors renormalised; ties go to the lower id.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "shared/ipc/message.h"
#include "worker/engine/row_math.h"

namespace shardline {

// A token that the filters have not removed.
struct Survivor {
  double weight;  // proportional to its probability
  double key;     // its place in the order of the filter at hand: smaller first
  float logit;
  uint32_t id;
};

// Memory that a row needs for a moment; one per thread.
struct FilterScratch {
  std::vector<double> weights, sums;
  std::vector<Survivor> survivors, order;
  std::vector<RankedToken> best;
};

// logits: adjusted, without NaN or +inf, `max` (finite) their largest; temperature > 0; u in (0,
// 1).
uint32_t DrawToken(std::span<const float> logits, float max, const FlatSampling& sampling, double u,
                   FilterScratch& scratch);

}  // namespace shardline
