// The sampler of one output: what the tokens so far and the request's parameters make of the next
// row of logits. Order: bias, penalties, mask, then greedy (temperature 0) or temperature, top_k,
// typical_p, top_p, min_p, draw. Token i depends on (logits, history, seed, i) alone, so batches
// and replays change nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "shared/base/status.h"
#include "shared/ipc/message.h"
#include "worker/engine/filters.h"
#include "worker/engine/penalties.h"
#include "worker/engine/token_mask.h"

namespace shardline {

struct SampleScratch {
  FilterScratch filter;
  std::vector<ChangedLogit> changed;
};

struct Sample {
  bool non_finite = false;  // NaN, +inf, or nothing but -inf: no token
  TokenRecord token{};      // logprob NaN and rank 0 unless asked for
  std::vector<CandidateRecord> top;
};

class Sampler {
 public:
  // Errors: InvalidArgument naming the parameter or id that is out of range.
  static absl::StatusOr<Sampler> Create(const Submit& submit, uint32_t output_index,
                                        uint32_t vocabulary, std::span<const uint32_t> eos_ids);

  // The next token; `logits` ([vocabulary], raw) come back as they were.
  Sample Next(std::span<float> logits, SampleScratch& scratch) const;
  // Takes an emitted token (drawn or replayed) into the history.
  void Push(uint32_t token);

  uint32_t emitted() const { return emitted_; }

 private:
  explicit Sampler(const Submit& submit, uint32_t output_index);
  void Adjust(std::span<float> logits, std::vector<ChangedLogit>& changed) const;

  FlatSampling sampling_;
  uint32_t output_index_;
  uint32_t emitted_ = 0;
  bool want_logprobs_;
  uint32_t top_;
  std::vector<LogitBias> bias_;
  Penalties penalties_;
  std::unique_ptr<TokenMask> mask_;  // null: all tokens allowed
};

}  // namespace shardline
