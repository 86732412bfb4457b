// Log-probabilities of raw logits: one token's value and rank, and the likeliest candidates.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "shared/ipc/message.h"
#include "worker/engine/row_math.h"

namespace shardline {

// Log-softmax of the row at `id`; rank 1 is the likeliest, equal logits rank by id. `top`
// candidates, likeliest first (as many as the vocabulary has, if that is less), replace what
// `candidates` held. logits: without NaN or +inf, `max` (finite) their largest. `best` is scratch.
TokenRecord RawLogprobs(std::span<const float> logits, float max, uint32_t id, uint32_t top,
                        std::vector<CandidateRecord>& candidates, std::vector<RankedToken>& best);

}  // namespace shardline
