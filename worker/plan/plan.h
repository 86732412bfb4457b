// What a model takes on each rank of a group, and how fast a device could run it, from its
// configuration alone. All figures are those of the code that cuts, allocates and runs
// (worker/plan/dry_rank.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/plan/dry_rank.h"

namespace shardline {

// What each rank has. 0: not known.
struct Device {
  std::string name;
  uint64_t memory_bytes = 0;
  double bytes_per_second = 0;             // of memory, read
  double narrow_flops = 0, f32_flops = 0;  // per second, of dense products in bf16 or f16; in f32
};

struct PlanOptions {
  std::string path;
  std::string dtype = "auto";
  int ranks = 1;
  bool expert_parallel = false;
  int64_t max_context = 0;  // 0: what the model states
  int64_t max_sequences = 256;
  int64_t max_batch_tokens = 2048;
  Device device;
  uint64_t reserve_bytes = 0;     // of a device's memory, for others than the model
  std::vector<int64_t> contexts;  // lengths of sequences that are asked about; empty: up to 2048,
                                  // and the longest
};

// Of ranks that are alike.
struct RankFigures {
  std::vector<int> ranks;
  uint64_t weight_bytes = 0;
  uint64_t copied_bytes = 0;  // of these, what another rank holds too
  uint64_t activation_bytes = 0;
  int64_t kv_bytes = 0;  // what is left for keys, values and states; below 0: that much is missing
  uint64_t token_bytes = 0;  // of keys and values, of one position
  uint64_t state_bytes = 0;  // of recurrent states, of one sequence
  std::vector<StateGroup> groups;
};

// Sequences of one length.
struct ContextFigures {
  int64_t tokens = 0;
  uint64_t sequence_bytes = 0;  // what one of them holds at most, on the rank that holds most
  int64_t sequences = 0;        // that fit; with no device, 0
};

// One step, on the rank that has most to do.
struct StepFigures {
  DryStep step;
  uint64_t bytes = 0;  // of weights and state that are read
  double flops = 0;
  Traffic traffic;

  int64_t tokens() const { return step.sequences * step.tokens; }
};

struct ModelPlan {
  ModelInfo info;
  std::vector<RankFigures> ranks;
  std::vector<ContextFigures> contexts;
  StepFigures prefill;              // as many tokens of one sequence as a step takes
  std::vector<StepFigures> decode;  // for each context: one sequence, and all that fit
  bool fits = true;                 // one sequence of the longest context, on every rank
  int smallest = 0;                 // number of ranks that it fits on; 0: none, or not asked
};

// Errors: as OpenModel; InvalidArgument naming --context.
absl::StatusOr<ModelPlan> PlanModel(const PlanOptions& options);

}  // namespace shardline
