// Named dimensions of weights, and how one is cut for several ranks. Every weight slot names its
// axes, so two weights on one axis (gate and down, q and o) are cut at the same places.
#pragma once

#include <cstdint>
#include <string>

#include "shared/base/status.h"

namespace shardline {

struct Axis {
  std::string name;     // "heads", "kv_heads", "ffn", "vocab", "hidden"
  int64_t size = 0;     // elements
  int64_t granule = 1;  // a cut falls on multiples of this; 0: the axis is whole on every rank

  bool operator==(const Axis&) const = default;
};

struct AxisRange {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool operator==(const AxisRange&) const = default;
};

// The part of rank `rank` out of `ranks`. Granules are dealt out evenly, the first ranks get one
// more where they do not divide. Errors: InvalidArgument when there are fewer granules than ranks.
absl::StatusOr<AxisRange> CutAxis(const Axis& axis, int rank, int ranks);

}  // namespace shardline
