#include "worker/engine/kv_plan.h"

#include <algorithm>
#include <limits>

#include "worker/parallel/agree.h"

namespace shardline {
namespace {

uint64_t BlocksFor(int64_t positions) { return (positions + kBlockTokens - 1) / kBlockTokens; }

// What one sequence holds of a group, by KvBlocks' rule: a window need not begin where a block
// does, and admission keeps a block free for each sequence that runs.
uint64_t MostHeld(const StateGroup& group, const KvLimits& limits) {
  const uint64_t context = BlocksFor(limits.context_tokens);
  if (group.recurrent()) return 1;
  if (group.window == 0) return context;
  return std::min(context, BlocksFor(group.window + limits.step_tokens) + 2);
}

// What is useful of a group for all sequences together.
uint64_t MostUsed(const StateGroup& group, const KvLimits& limits, bool beside_full) {
  const uint64_t sequences = limits.max_sequences;
  if (group.window > 0 && !beside_full) return sequences * BlocksFor(limits.context_tokens);
  return sequences * MostHeld(group, limits);
}

// `block_bytes`: of each group.
absl::StatusOr<KvPlan> Plan(const std::vector<StateGroup>& groups,
                            const std::vector<uint64_t>& block_bytes, const KvLimits& limits,
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
    for (size_t g = 0; g < groups.size(); ++g)
      bytes += blocks_of(groups[g], blocks) * block_bytes[g];
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

std::vector<uint64_t> BlockBytes(const std::vector<StateGroup>& groups) {
  std::vector<uint64_t> bytes;
  for (const StateGroup& group : groups) bytes.push_back(group.block_bytes());
  return bytes;
}

}  // namespace

absl::StatusOr<KvPlan> PlanKv(const std::vector<StateGroup>& groups, const KvLimits& limits,
                              uint64_t kv_cache_bytes, uint64_t available_bytes) {
  return Plan(groups, BlockBytes(groups), limits, kv_cache_bytes, available_bytes);
}

absl::StatusOr<KvPlan> PlanKvTogether(ProcessGroup& group, const std::vector<StateGroup>& groups,
                                      const KvLimits& limits, uint64_t kv_cache_bytes,
                                      uint64_t available_bytes) {
  std::vector<uint64_t> own = BlockBytes(groups);
  own.push_back(available_bytes);
  SL_ASSIGN_OR_RETURN(const std::vector<uint64_t> all, GatherWords(group, own));
  std::vector<uint64_t> block_bytes(groups.size(), 0);
  for (int rank = 0; rank < group.size(); ++rank) {
    const uint64_t* words = all.data() + rank * own.size();
    for (size_t g = 0; g < groups.size(); ++g) block_bytes[g] += words[g];
    available_bytes = std::min(available_bytes, words[groups.size()]);
  }
  return Plan(groups, block_bytes, limits, kv_cache_bytes, available_bytes);
}

uint64_t SequenceBytes(const std::vector<StateGroup>& groups, const KvLimits& limits) {
  uint64_t bytes = 0;
  for (const StateGroup& group : groups) bytes += MostHeld(group, limits) * group.block_bytes();
  return bytes;
}

int64_t SequencesThatFit(const std::vector<StateGroup>& groups, const KvLimits& limits,
                         uint64_t kv_cache_bytes) {
  const auto fit = [&](int64_t sequences) {
    KvLimits so_many = limits;
    so_many.max_sequences = sequences;
    const absl::StatusOr<KvPlan> plan =
        PlanKv(groups, so_many, std::max<uint64_t>(1, kv_cache_bytes), 0);
    if (!plan.ok() || plan->context_tokens < limits.context_tokens) return false;
    for (size_t g = 0; g < groups.size(); ++g) {
      const uint64_t held = sequences * MostHeld(groups[g], limits);
      if (held > static_cast<uint64_t>(plan->blocks_per_group[g])) return false;
    }
    return true;
  };
  int64_t fits = 0, too_many = limits.max_sequences + 1;
  while (fits + 1 < too_many) {
    const int64_t middle = fits + (too_many - fits) / 2;
    (fit(middle) ? fits : too_many) = middle;
  }
  return fits;
}

}  // namespace shardline
