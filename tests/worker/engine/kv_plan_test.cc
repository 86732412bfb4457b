// KV memory turned into blocks.
#include "worker/engine/kv_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardline {
namespace {

using ::testing::ElementsAre;

// A block takes 2 * 1 * 1 * 8 * 16 * 4 = 1024 bytes in the first group, twice that in the second.
const std::vector<StateGroup> kGroups = {{.layers = 1, .kv_heads = 1, .head_dim = 8},
                                         {.layers = 2, .kv_heads = 1, .head_dim = 8}};

TEST(PlanKv, NoMoreThanAllContextsUse) {
  const auto plan = PlanKv(kGroups, 3, 100, 0, uint64_t{1} << 40);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->blocks_per_group, ElementsAre(21, 21));  // 3 * ceil(100 / 16)
  EXPECT_EQ(plan->bytes, 21u * 3072);
  EXPECT_EQ(plan->context_tokens, 100);
}

TEST(PlanKv, AQuarterOfWhatIsAvailable) {
  const auto plan = PlanKv(kGroups, 3, 100, 0, 4 * 10 * 3072 + 5);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->blocks_per_group, ElementsAre(10, 10));
  EXPECT_EQ(plan->context_tokens, 100);
}

TEST(PlanKv, TheFlagDecidesAndMayShortenTheContext) {
  const auto plan = PlanKv(kGroups, 3, 100, 5 * 3072, 1);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->blocks_per_group, ElementsAre(5, 5));
  EXPECT_EQ(plan->context_tokens, 80);
}

TEST(PlanKv, NothingFits) {
  const auto plan = PlanKv(kGroups, 3, 100, 3071, 0);
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(Message(plan.status()).find("--kv-cache-bytes"), std::string::npos);
}

}  // namespace
}  // namespace shardline
