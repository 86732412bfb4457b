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
  // Where the slot's rows stand among the tensor's: `run` at a time, the first at `first`, one run
  // every `stride`.
  int64_t first = 0, run = 0, stride = 0;
  bool transposed = false;  // the rows above are the slot's columns
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
