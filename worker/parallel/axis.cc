// Cuts an axis into ranks.
#include "worker/parallel/axis.h"

#include <algorithm>

namespace shardline {

absl::StatusOr<AxisRange> CutAxis(const Axis& axis, int rank, int ranks) {
  if (ranks < 1 || rank < 0 || rank >= ranks) {
    return InvalidArgument("rank ", rank, " of ", ranks, " does not exist");
  }
  if (axis.granule == 0 || ranks == 1) return AxisRange{0, axis.size};
  const int64_t granules = (axis.size + axis.granule - 1) / axis.granule;  // the last may be short
  if (granules < ranks) {
    return InvalidArgument("axis ", axis.name, " has ", granules, " parts of ", axis.granule,
                           ", too few for ", ranks, " ranks");
  }
  const int64_t each = granules / ranks, extra = granules % ranks;
  const auto start = [&](int64_t r) {
    return std::min(axis.size, (r * each + std::min<int64_t>(r, extra)) * axis.granule);
  };
  return AxisRange{start(rank), start(rank + 1)};
}

}  // namespace shardline
