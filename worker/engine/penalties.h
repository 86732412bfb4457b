// What a sequence's past takes from its next logits: repetition penalty over a window of prompt and
// output, frequency and presence penalties over the output. Counts are sparse and change by one
// token a step.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "shared/ipc/message.h"

namespace shardline {

// A logit that was changed, with its raw value.
struct ChangedLogit {
  uint32_t id;
  float raw;
};

class Penalties {
 public:
  // Ids of prompt and output must be below the vocabulary's size.
  Penalties(const FlatSampling& sampling, std::span<const uint32_t> prompt);

  void Push(uint32_t emitted);
  // Applies the penalties in place and appends what it changed.
  void Apply(std::span<float> logits, std::vector<ChangedLogit>& changed) const;

 private:
  struct Counts {
    uint32_t window = 0;  // among the last repeat_last_n tokens
    uint32_t output = 0;
  };
  void PushWindow(uint32_t token);

  float repetition_, frequency_, presence_;
  int64_t window_size_;          // -1: all; 0: repetition penalty is off
  std::deque<uint32_t> window_;  // empty when window_size_ is -1
  absl::flat_hash_map<uint32_t, Counts> counts_;
};

}  // namespace shardline
