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

absl::StatusOr<HeadParts> CutHeads(int64_t heads, int64_t kv_heads, Split split) {
  const int64_t group = heads / kv_heads;
  if (kv_heads >= split.ranks) {
    SL_ASSIGN_OR_RETURN(const AxisRange kv,
                        CutAxis({"kv_heads", kv_heads, 1}, split.rank, split.ranks));
    return HeadParts{{kv.begin * group, kv.end * group}, kv};
  }
  if (group < (split.ranks + kv_heads - 1) / kv_heads) {  // for some rank, so for all
    return InvalidArgument(heads, " heads of ", kv_heads, " kv_heads are too few for ", split.ranks,
                           " ranks");
  }
  // The ranks are dealt out to the key-value heads, then each head's queries to its ranks.
  for (int64_t kv = 0; kv < kv_heads; ++kv) {
    SL_ASSIGN_OR_RETURN(
        const AxisRange sharers,
        CutAxis({"ranks", split.ranks, 1}, static_cast<int>(kv), static_cast<int>(kv_heads)));
    if (split.rank >= sharers.end) continue;
    SL_ASSIGN_OR_RETURN(const AxisRange queries,
                        CutAxis({"heads", group, 1}, static_cast<int>(split.rank - sharers.begin),
                                static_cast<int>(sharers.size())));
    return HeadParts{{kv * group + queries.begin, kv * group + queries.end}, {kv, kv + 1}};
  }
  return Internal("rank ", split.rank, " of ", split.ranks);
}

}  // namespace shardline
