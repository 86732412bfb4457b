// How many KV blocks each group gets.
#pragma once

#include <cstdint>
#include <vector>

#include "shared/base/status.h"
#include "worker/state/state.h"

namespace shardline {

struct KvPlan {
  std::vector<int32_t> blocks_per_group;
  uint64_t bytes = 0;
  int64_t context_tokens = 0;  // of one sequence: the model's, and no more than the blocks hold
  int64_t block_tokens = 0;    // of one block: a whole context where all groups are recurrent
};

// What bounds the sequences.
struct KvLimits {
  int64_t max_sequences = 1;
  int64_t context_tokens = 0;
  int64_t step_tokens = 0;  // of one step
};

// `kv_cache_bytes` 0: the smaller of a quarter of `available_bytes` and what `max_sequences` full
// contexts use. Every group gets the same number of blocks, since each token needs one position in
// each; beside groups of full attention, one with a window gets no more than `max_sequences`
// windows use, and a recurrent one no more than one for each sequence. Errors: ResourceExhausted
// naming --kv-cache-bytes when not even one block fits.
absl::StatusOr<KvPlan> PlanKv(const std::vector<StateGroup>& groups, const KvLimits& limits,
                              uint64_t kv_cache_bytes, uint64_t available_bytes);

}  // namespace shardline
