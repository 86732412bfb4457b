// How many KV blocks each group gets.
#pragma once

#include <cstdint>
#include <vector>

#include "shared/base/status.h"
#include "worker/parallel/process_group.h"
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

// The same of a group of ranks: what they hold of a block counts together, and of the available
// bytes the least. Every rank calls it and gets the same plan. Errors also: the group's.
absl::StatusOr<KvPlan> PlanKvTogether(ProcessGroup& group, const std::vector<StateGroup>& groups,
                                      const KvLimits& limits, uint64_t kv_cache_bytes,
                                      uint64_t available_bytes);

// What one sequence of limits.context_tokens holds at most.
uint64_t SequenceBytes(const std::vector<StateGroup>& groups, const KvLimits& limits);

// How many such sequences run at once in what PlanKv makes of `kv_cache_bytes`, at most
// limits.max_sequences.
int64_t SequencesThatFit(const std::vector<StateGroup>& groups, const KvLimits& limits,
                         uint64_t kv_cache_bytes);

}  // namespace shardline
