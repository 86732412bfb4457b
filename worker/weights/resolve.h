// The first half of loading: which tensor fills which slot, with every disagreement found.
#pragma once

#include <vector>

#include "shared/base/status.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/name_map.h"
#include "worker/weights/weight_plan.h"

namespace shardline {

struct Source {
  const StoredTensor* tensor = nullptr;
  RowOrder order = RowOrder::kAsStored;
  int64_t first_row = 0;  // of the slot's rows in the tensor
};

// By matrix (or vector) and part, as in the plan.
struct Sources {
  std::vector<std::vector<Source>> matrices;
  std::vector<std::vector<Source>> vectors;
};

// Errors: InvalidArgument naming every missing, unused, misshapen and unreadable tensor in one
// line.
absl::StatusOr<Sources> ResolveSources(const Checkpoint& checkpoint, const NameTable& names,
                                       const WeightPlan& plan);

}  // namespace shardline
