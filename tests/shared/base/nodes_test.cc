#include "shared/base/nodes.h"

#include <gtest/gtest.h>

namespace shardline {
namespace {

TEST(RanksOfNode, AreDealtInOrderAndEvenly) {
  for (int ranks = 1; ranks <= 64; ++ranks) {
    for (int nodes = 1; nodes <= ranks; ++nodes) {
      int next = 0;
      for (int node = 0; node < nodes; ++node) {
        const RankRun run = RanksOfNode(ranks, nodes, node);
        EXPECT_EQ(run.first, next);
        EXPECT_GE(run.count, ranks / nodes);
        EXPECT_LE(run.count, (ranks + nodes - 1) / nodes);
        next += run.count;
      }
      EXPECT_EQ(next, ranks) << nodes << " nodes";
    }
  }
}

TEST(RanksOfNode, TheFirstNodesHaveOneMore) {
  const RankRun first = RanksOfNode(3, 2, 0), second = RanksOfNode(3, 2, 1);
  EXPECT_EQ(first.count, 2);
  EXPECT_EQ(second.first, 2);
  EXPECT_EQ(second.count, 1);
}

}  // namespace
}  // namespace shardline
