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
};

// `kv_cache_bytes` 0: the smaller of a quarter of `available_bytes` and what `max_sequences` full
// contexts use. Every group gets the same number of blocks: each token needs one position in each.
// Errors: ResourceExhausted naming --kv-cache-bytes when not even one block fits.
absl::StatusOr<KvPlan> PlanKv(const std::vector<StateGroup>& groups, int64_t max_sequences,
                              int64_t context_tokens, uint64_t kv_cache_bytes,
                              uint64_t available_bytes);

}  // namespace shardline
