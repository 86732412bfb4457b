#include "worker/parallel/axis.h"

#include <gtest/gtest.h>

#include <vector>

namespace shardline {
namespace {

std::vector<int64_t> Sizes(const Axis& axis, int ranks) {
  std::vector<int64_t> sizes;
  int64_t end = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    const auto range = CutAxis(axis, rank, ranks);
    EXPECT_TRUE(range.ok()) << range.status();
    EXPECT_EQ(range->begin, end) << "parts follow each other";
    end = range->end;
    sizes.push_back(range->size());
  }
  EXPECT_EQ(end, axis.size) << "parts cover the axis";
  return sizes;
}

TEST(CutAxis, DealsGranulesEvenlyTheFirstRanksGetMore) {
  EXPECT_EQ(Sizes({"ffn", 12, 1}, 3), (std::vector<int64_t>{4, 4, 4}));
  EXPECT_EQ(Sizes({"ffn", 11008, 32}, 3), (std::vector<int64_t>{3680, 3680, 3648}));
  EXPECT_EQ(Sizes({"ffn", 7, 1}, 4), (std::vector<int64_t>{2, 2, 2, 1}));
}

TEST(CutAxis, KeepsAShortLastGranule) {
  EXPECT_EQ(Sizes({"vocab", 100, 32}, 2), (std::vector<int64_t>{64, 36}));
}

TEST(CutAxis, OneRankHasAll) {
  EXPECT_EQ(Sizes({"heads", 576, 192}, 1), std::vector<int64_t>{576});
}

TEST(CutAxis, AnAxisWithoutGranuleIsWholeEverywhere) {
  for (int rank = 0; rank < 4; ++rank) {
    const auto range = CutAxis({"hidden", 64, 0}, rank, 4);
    ASSERT_TRUE(range.ok());
    EXPECT_EQ(*range, (AxisRange{0, 64}));
  }
}

// Query heads follow their kv head: both axes have as many granules.
TEST(CutAxis, HeadsAndKvHeadsAreCutAlike) {
  const int64_t head_dim = 64, kv_heads = 3, group = 3;
  const Axis heads{"heads", kv_heads * group * head_dim, group * head_dim};
  const Axis kv{"kv_heads", kv_heads * head_dim, head_dim};
  for (int rank = 0; rank < 2; ++rank) {
    const AxisRange q = *CutAxis(heads, rank, 2), k = *CutAxis(kv, rank, 2);
    EXPECT_EQ(q.begin, k.begin * group);
    EXPECT_EQ(q.end, k.end * group);
  }
}

TEST(CutAxis, RefusesMoreRanksThanGranules) {
  const auto range = CutAxis({"kv_heads", 192, 64}, 0, 4);
  EXPECT_EQ(range.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(range.status()), "axis kv_heads has 3 parts of 64, too few for 4 ranks");
  EXPECT_FALSE(CutAxis({"ffn", 8, 1}, 2, 2).ok());
  EXPECT_FALSE(CutAxis({"ffn", 8, 1}, 0, 0).ok());
}

}  // namespace
}  // namespace shardline
