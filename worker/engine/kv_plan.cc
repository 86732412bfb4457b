#include "worker/engine/kv_plan.h"

#include <algorithm>
#include <limits>

namespace shardline {

absl::StatusOr<KvPlan> PlanKv(const std::vector<StateGroup>& groups, int64_t max_sequences,
                              int64_t context_tokens, uint64_t kv_cache_bytes,
                              uint64_t available_bytes) {
  uint64_t block_bytes = 0;  // of one block in every group
  for (const StateGroup& group : groups) block_bytes += group.block_bytes();
  const uint64_t context_blocks = (context_tokens + kBlockTokens - 1) / kBlockTokens;
  const uint64_t usable = context_blocks * static_cast<uint64_t>(max_sequences);

  KvPlan plan;
  uint64_t blocks = usable;
  if (block_bytes > 0) {
    const uint64_t limit = kv_cache_bytes > 0 ? kv_cache_bytes : available_bytes / 4;
    blocks = std::min(usable, limit / block_bytes);
    if (blocks == 0) {
      return ResourceExhausted("--kv-cache-bytes: ", limit, " bytes hold no block of ",
                               kBlockTokens, " tokens, which takes ", block_bytes);
    }
  }
  blocks = std::min<uint64_t>(blocks, std::numeric_limits<int32_t>::max());
  plan.blocks_per_group.assign(groups.size(), static_cast<int32_t>(blocks));
  plan.bytes = blocks * block_bytes;
  plan.context_tokens =
      std::min<int64_t>(context_tokens, static_cast<int64_t>(blocks) * kBlockTokens);
  return plan;
}

}  // namespace shardline
