// Writes the scheduler's chunks down as a step plan, and remembers what each wanted row of logits
// is for.
#pragma once

#include <vector>

#include "shared/ipc/step_plan.h"
#include "worker/engine/sequence.h"

namespace shardline {

// One row of logits: those after the token at `position`.
struct WantedRow {
  Sequence* sequence;
  int64_t position;
  // The row is for the next token; otherwise for the record of prompt position `position` + 1.
  bool next_token;
};

// Fills everything of `plan` but step and blocks. `wanted` is parallel to plan.wanted.
void BuildPlan(const std::vector<Chunk>& chunks, StepPlan& plan, std::vector<WantedRow>& wanted);

}  // namespace shardline
