// One output being made: its tokens, its sampler, and what it holds of slots and KV blocks. The
// outputs of one request share the KV blocks of their prompt.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "shared/ipc/message.h"
#include "shared/ipc/step_plan.h"
#include "worker/engine/sampler.h"

namespace shardline {

inline constexpr int32_t kNoSlot = -1;

struct Sequence {
  Sequence(SubmitHeader request, uint32_t output, Sampler s)
      : header(request), output_index(output), sampler(std::move(s)) {}

  SubmitHeader header;
  uint32_t output_index;
  Sampler sampler;
  std::vector<uint32_t> tokens;  // prompt, then what was emitted
  int64_t prompt_tokens = 0;
  // First positions that the request's outputs share: whole blocks of the prompt, without its last
  // token, whose logits each output needs for itself. 0: a single output.
  int64_t shared_tokens = 0;
  std::vector<uint32_t> stop_token_ids;

  // The scheduler's.
  uint64_t arrival = 0;
  bool paused = false;
  int32_t slot = kNoSlot;  // a sequence without a slot waits, and holds no blocks
  int64_t computed = 0;    // positions whose keys and values are in the cache
  uint64_t last_turn = 0;  // when it last had a row: larger is later, within a step too
  std::vector<std::vector<int32_t>> blocks;  // [group][position / kBlockTokens]

  // Prompt positions whose record has been sent; -1: prompt log-probabilities are not wanted, or
  // come with another output.
  int64_t prompt_sent = -1;
  // Its end has been told; the slot and the blocks go when the step is over.
  bool ended = false;

  int64_t emitted() const { return static_cast<int64_t>(tokens.size()) - prompt_tokens; }
  bool wants_tokens() const { return header.max_new_tokens > 0; }
  // Positions to compute before the next token, or (no tokens wanted) before the end.
  int64_t target() const { return static_cast<int64_t>(tokens.size()) - (wants_tokens() ? 0 : 1); }
  int64_t remaining() const { return target() - computed; }
  bool in_prompt() const { return computed < prompt_tokens; }
  bool runnable() const { return !paused && !ended; }
};

// Some consecutive tokens of one sequence in the next step: all prompt, or all emitted.
struct Chunk {
  Sequence* sequence;
  int64_t first;  // position
  int64_t count;
};

}  // namespace shardline
