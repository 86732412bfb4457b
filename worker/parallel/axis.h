// Named dimensions of weights, and how one is cut for several ranks. Every weight slot names its
// axes, so two weights on one axis (gate and down, q and o) are cut at the same places.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "shared/base/status.h"

namespace shardline {

struct AxisRange {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool operator==(const AxisRange&) const = default;
};

// Which rank this is, out of how many.
struct Split {
  int rank = 0;
  int ranks = 1;
};

struct Axis {
  std::string name;     // "heads", "kv_heads", "ffn", "vocab", "hidden"
  int64_t size = 0;     // elements, on all ranks together
  int64_t granule = 1;  // a cut falls on multiples of this; 0: the axis is whole on every rank
  std::optional<AxisRange> part = std::nullopt;  // this rank's; none: all of it

  int64_t begin() const { return part ? part->begin : 0; }
  int64_t local() const { return part ? part->size() : size; }
  bool operator==(const Axis&) const = default;
};

// The part of rank `rank` out of `ranks`. Granules are dealt out evenly, the first ranks get one
// more where they do not divide. Errors: InvalidArgument when there are fewer granules than ranks.
absl::StatusOr<AxisRange> CutAxis(const Axis& axis, int rank, int ranks);

// The heads of a rank, in heads. A key-value head's queries stay together while there are as many
// such heads as ranks; where there are fewer, several ranks hold a copy of one and share its
// queries. Errors: InvalidArgument when there are fewer heads than ranks.
struct HeadParts {
  AxisRange heads, kv_heads;
};
absl::StatusOr<HeadParts> CutHeads(int64_t heads, int64_t kv_heads, Split split);

}  // namespace shardline
