// What the ranks of a group tell each other while they start. Every rank makes the same calls.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/parallel/process_group.h"

namespace shardline {

// `all` := OK if `own` is on every rank; otherwise the error of the first rank that has one, the
// same on all. Returns the group's errors alone.
absl::Status Agree(ProcessGroup& group, const absl::Status& own, absl::Status& all);

// All ranks' words, rank by rank: [group.size()][own.size()]. As many on every rank.
absl::StatusOr<std::vector<uint64_t>> GatherWords(ProcessGroup& group,
                                                  std::span<const uint64_t> own);

}  // namespace shardline
