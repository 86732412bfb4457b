// Which ranks run on which node (a host, with a gateway of its own).
#pragma once

#include <algorithm>

namespace shardline {

struct RankRun {
  int first = 0, count = 0;
};

// Ranks are dealt in order and as evenly as they go: the first nodes have one more where they do
// not. `nodes` is from 1 to `ranks`, `node` from 0 on.
inline RankRun RanksOfNode(int ranks, int nodes, int node) {
  const int each = ranks / nodes, more = ranks % nodes;
  return {node * each + std::min(node, more), each + (node < more ? 1 : 0)};
}

}  // namespace shardline
