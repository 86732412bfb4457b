// Requests for tests: everything off unless said otherwise.
#pragma once

#include <vector>

#include "shared/ipc/message.h"

namespace shardline {

inline FlatSampling PlainSampling() {
  FlatSampling s{};
  s.temperature = 1;
  s.top_p = 1;
  s.typical_p = 1;
  s.repetition_penalty = 1;
  s.repeat_last_n = 64;
  return s;
}

inline Submit PlainSubmit(RequestKey key, std::vector<uint32_t> prompt, uint32_t max_new_tokens) {
  Submit submit;
  submit.header.key = key;
  submit.header.outputs = 1;
  submit.header.max_new_tokens = max_new_tokens;
  submit.header.sampling = PlainSampling();
  submit.prompt = std::move(prompt);
  return submit;
}

}  // namespace shardline
