// What it takes to ask a worker for a request again: the prompt, the seed and limits, and the
// tokens that the client already has. Kept for every live request; it grows by one id per token.
#pragma once

#include <cstdint>
#include <vector>

#include "shared/ipc/message.h"

namespace shardline {

class JournalEntry {
 public:
  explicit JournalEntry(Submit submit)
      : submit_(std::move(submit)), emitted_(submit_.header.outputs) {}

  const Submit& submit() const { return submit_; }
  Submit& submit() { return submit_; }

  // Notes the next token of an output. False when `index` is not the next one, or there is no such
  // output.
  bool Emitted(uint32_t output_index, uint32_t index, uint32_t id);
  const std::vector<uint32_t>& emitted(uint32_t output_index) const {
    return emitted_[output_index];
  }
  uint64_t emitted_tokens() const;

  // The message that lets any worker go on with an output where the client's tokens end.
  Submit Resubmission(uint32_t output_index) const;

 private:
  Submit submit_;
  std::vector<std::vector<uint32_t>> emitted_;  // [outputs][tokens]
};

}  // namespace shardline
