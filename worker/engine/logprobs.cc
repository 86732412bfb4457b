#include "worker/engine/logprobs.h"

#include <algorithm>
#include <cmath>

namespace shardline {

TokenRecord RawLogprobs(std::span<const float> logits, float max, uint32_t id, uint32_t top,
                        std::vector<CandidateRecord>& candidates, std::vector<RankedToken>& best) {
  const RowMath& math = BestRowMath();
  const double log_sum = std::log(math.sum_exp(logits.data(), logits.size(), max, 1.0));
  const auto logprob = [&](float logit) {
    return static_cast<float>((static_cast<double>(logit) - max) - log_sum);
  };

  const float logit = logits[id];
  size_t rank = 1 + math.count_above(logits.data(), logits.size(), logit);
  rank += std::count(logits.begin(), logits.begin() + id, logit);

  candidates.clear();
  if (top > 0) {
    SelectBest(logits, top, best);
    std::sort(best.begin(), best.end(), RanksBefore);
    for (const RankedToken& token : best) candidates.push_back({token.id, logprob(token.logit)});
    // Fewer finite logits than candidates: the impossible tokens follow by id.
    for (size_t i = 0; i < logits.size() && candidates.size() < top; ++i) {
      if (std::isinf(logits[i])) candidates.push_back({static_cast<uint32_t>(i), logits[i]});
    }
  }
  return {id, logprob(logit), static_cast<uint32_t>(rank), 0};
}

}  // namespace shardline
