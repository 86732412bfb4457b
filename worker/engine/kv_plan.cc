#include "worker/engine/kv_plan.h"

#include <algorithm>
#include <limits>

namespace shardline {
namespace {

uint64_t BlocksFor(int64_t positions) { return (positions + kBlockTokens - 1) / kBlockTokens; }

// What all sequences together can hold of a group, by KvBlocks' rule: a window need not begin where
// a block does, and admission keeps a block free for each sequence that runs.
uint64_t MostUsed(const StateGroup& group, const KvLimits& limits, bool beside_full) {
  const uint64_t sequences = limits.max_sequences, context = BlocksFor(limits.context_tokens);
  if (group.recurrent()) return sequences;
  if (group.window == 0 || !beside_full) return sequences * context;
  return sequences * (std::min(context, BlocksFor(group.window + limits.step_tokens) + 1) + 1);
}

}  // namespace

absl::StatusOr<KvPlan> PlanKv(const std::vector<StateGroup>& groups, const KvLimits& limits,
                              uint64_t kv_cache_bytes, uint64_t available_bytes) {
  const bool any_full = std::any_of(groups.begin(), groups.end(), [](const StateGroup& group) {
    return group.window == 0 && !group.recurrent();
  });
  const bool any_paged = std::any_of(groups.begin(), groups.end(),
                                     [](const StateGroup& group) { return !group.recurrent(); });
  const auto blocks_of = [&](const StateGroup& group, uint64_t blocks) {
    return std::min(blocks, MostUsed(group, limits, any_full));
  };
  const auto bytes_of = [&](uint64_t blocks) {
    uint64_t bytes = 0;
    for (const StateGroup& group : groups) bytes += blocks_of(group, blocks) * group.block_bytes();
    return bytes;
  };
  const uint64_t limit = kv_cache_bytes > 0 ? kv_cache_bytes : available_bytes / 4;
  if (bytes_of(1) > limit) {
    const std::string what =
        any_paged ? Cat("no block of ", kBlockTokens, " tokens") : "no sequence's state";
    return ResourceExhausted("--kv-cache-bytes: ", limit, " bytes hold ", what, ", which takes ",
                             bytes_of(1));
  }
  uint64_t blocks = 1;  // the most that fit: all that are useful, or found by halving
  uint64_t too_many =
      1 + std::min<uint64_t>(limits.max_sequences * BlocksFor(limits.context_tokens),
                             std::numeric_limits<int32_t>::max());
  while (blocks + 1 < too_many) {
    const uint64_t middle = blocks + (too_many - blocks) / 2;
    (bytes_of(middle) <= limit ? blocks : too_many) = middle;
  }

  KvPlan plan;
  for (const StateGroup& group : groups) {
    plan.blocks_per_group.push_back(static_cast<int32_t>(blocks_of(group, blocks)));
  }
  plan.bytes = bytes_of(blocks);
  plan.context_tokens = limits.context_tokens;
  if (any_paged) {
    plan.context_tokens =
        std::min<int64_t>(limits.context_tokens, static_cast<int64_t>(blocks) * kBlockTokens);
  }
  // A context and the token after it, which the gateway counts.
  plan.block_tokens = any_paged ? kBlockTokens : plan.context_tokens + 1;
  return plan;
}

}  // namespace shardline
