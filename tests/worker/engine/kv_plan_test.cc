// KV memory turned into blocks.
#include "worker/engine/kv_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/engine/submits.h"
#include "worker/engine/kv_blocks.h"

namespace shardline {
namespace {

using ::testing::ElementsAre;

// A block takes 2 * 1 * 1 * 8 * 16 * 4 = 1024 bytes in the first group, twice that in the second.
const std::vector<StateGroup> kGroups = {{.layers = 1, .kv_heads = 1, .head_dim = 8},
                                         {.layers = 2, .kv_heads = 1, .head_dim = 8}};

TEST(PlanKv, NoMoreThanAllContextsUse) {
  const auto plan = PlanKv(kGroups, {3, 100, 8}, 0, uint64_t{1} << 40);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->blocks_per_group, ElementsAre(21, 21));  // 3 * ceil(100 / 16)
  EXPECT_EQ(plan->bytes, 21u * 3072);
  EXPECT_EQ(plan->context_tokens, 100);
}

TEST(PlanKv, AQuarterOfWhatIsAvailable) {
  const auto plan = PlanKv(kGroups, {3, 100, 8}, 0, 4 * 10 * 3072 + 5);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->blocks_per_group, ElementsAre(10, 10));
  EXPECT_EQ(plan->context_tokens, 100);
}

TEST(PlanKv, TheFlagDecidesAndMayShortenTheContext) {
  const auto plan = PlanKv(kGroups, {3, 100, 8}, 5 * 3072, 1);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->blocks_per_group, ElementsAre(5, 5));
  EXPECT_EQ(plan->context_tokens, 80);
}

// Three windows of 20 and a step of 8: 2 blocks, one more because they begin anywhere, one for
// admission.
TEST(PlanKv, AWindowBesideFullAttentionGetsWhatWindowsUse) {
  std::vector<StateGroup> groups = kGroups;
  groups[1].window = 20;
  const auto plan = PlanKv(groups, {3, 100, 8}, 0, uint64_t{1} << 40);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->blocks_per_group, ElementsAre(21, 12));
  EXPECT_EQ(plan->bytes, 21u * 1024 + 12 * 2048);
  // What the window leaves goes to the others.
  const auto little = PlanKv(groups, {3, 100, 8}, 12 * 3072 + 2 * 1024 + 1023, 0);
  EXPECT_THAT(little->blocks_per_group, ElementsAre(14, 12));
  EXPECT_EQ(little->bytes, 12u * 3072 + 2 * 1024);
  EXPECT_THAT(PlanKv(groups, {3, 100, 8}, 5 * 3072, 0)->blocks_per_group, ElementsAre(5, 5));
}

TEST(PlanKv, WindowsAloneCountAsFullAttention) {
  std::vector<StateGroup> groups = kGroups;
  for (StateGroup& group : groups) group.window = 20;
  EXPECT_THAT(PlanKv(groups, {3, 100, 8}, 0, uint64_t{1} << 40)->blocks_per_group,
              ElementsAre(21, 21));
}

// A sequence's state takes 2 * (24 + 40) = 128 bytes.
const StateGroup kRecurrent = {.layers = 2, .parts = {{DType::kF32, 2, 3}, {DType::kBF16, 4, 5}}};

TEST(PlanKv, RecurrentStatesAloneAreOneForEachSequence) {
  const auto all = PlanKv({kRecurrent}, {3, 100, 8}, 0, uint64_t{1} << 40);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_THAT(all->blocks_per_group, ElementsAre(3));
  EXPECT_EQ(all->bytes, 3u * 128);
  EXPECT_EQ(all->context_tokens, 100);
  EXPECT_EQ(all->block_tokens, 101);
  const auto two = PlanKv({kRecurrent}, {3, 100, 8}, 2 * 128 + 127, 0);
  EXPECT_THAT(two->blocks_per_group, ElementsAre(2));
  EXPECT_EQ(two->context_tokens, 100);
  const auto none = PlanKv({kRecurrent}, {3, 100, 8}, 127, 0);
  EXPECT_EQ(none.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(Message(none.status()).find("no sequence's state"), std::string::npos);
}

TEST(PlanKv, RecurrentStatesBesideAttentionAreOneForEachSequenceThatCanRun) {
  std::vector<StateGroup> groups = kGroups;
  groups.push_back(kRecurrent);
  const auto all = PlanKv(groups, {3, 100, 8}, 0, uint64_t{1} << 40);
  EXPECT_THAT(all->blocks_per_group, ElementsAre(21, 21, 3));
  EXPECT_EQ(all->bytes, 21u * 3072 + 3 * 128);
  EXPECT_EQ(all->block_tokens, kBlockTokens);
  EXPECT_THAT(PlanKv(groups, {3, 100, 8}, 2 * (3072 + 128), 0)->blocks_per_group,
              ElementsAre(2, 2, 2));
}

// Every sequence that is said to fit grows to the whole context beside the others, by KvBlocks.
bool AllGrow(const std::vector<StateGroup>& groups, const KvLimits& limits, uint64_t bytes) {
  const auto plan = PlanKv(groups, limits, bytes, 0);
  if (!plan.ok() || plan->context_tokens < limits.context_tokens) return false;
  KvBlocks blocks(plan->blocks_per_group, groups, limits.step_tokens);
  const Submit submit = PlainSubmit(1, {1}, 10);
  std::vector<Sequence> sequences;
  for (int64_t i = 0; i < limits.max_sequences; ++i) {
    sequences.emplace_back(submit.header, 0, *Sampler::Create(submit, 0, 8, {}));
  }
  std::vector<BlockUpdate> updates;
  for (int64_t computed = 0; computed < limits.context_tokens; computed += limits.step_tokens) {
    for (Sequence& sequence : sequences) {
      sequence.computed = computed;
      const int64_t end = std::min(limits.context_tokens, computed + limits.step_tokens);
      if (!blocks.Grow(sequence, end, updates)) return false;
    }
  }
  return true;
}

TEST(SequencesThatFit, GrowToTheWholeContext) {
  std::vector<StateGroup> beside = kGroups, windows = kGroups, mixed = kGroups;
  beside[1].window = 20;
  for (StateGroup& group : windows) group.window = 20;
  mixed.push_back(kRecurrent);
  for (const auto& groups : {kGroups, beside, windows, mixed, {kRecurrent}}) {
    KvLimits limits{100, 100, 8};
    for (const uint64_t bytes : {1000, 30000, 50000, 100000, 200000, 400000}) {
      limits.max_sequences = 100;
      const int64_t fit = SequencesThatFit(groups, limits, bytes);
      EXPECT_GE(fit, std::min<int64_t>(100, bytes / 22000));
      limits.max_sequences = fit;
      if (fit > 0) {
        EXPECT_TRUE(AllGrow(groups, limits, bytes));
      }
      limits.max_sequences = fit + 1;
      const bool bounded = groups[0].window == 0 && groups.back().window == 0;
      if (bounded && fit < 100) {
        EXPECT_FALSE(AllGrow(groups, limits, bytes));
      }
    }
  }
}

TEST(SequencesThatFit, TakeWhatSequenceBytesSays) {
  std::vector<StateGroup> beside = kGroups;
  beside[1].window = 20;
  beside.push_back(kRecurrent);
  const KvLimits limits{1000, 100, 8};
  EXPECT_EQ(SequenceBytes(beside, limits), 7u * 1024 + 4 * 2048 + 128);
  EXPECT_EQ(SequencesThatFit(beside, limits, 5 * SequenceBytes(beside, limits)), 5);
  EXPECT_EQ(SequencesThatFit(beside, limits, 5 * SequenceBytes(beside, limits) - 1), 4);
  EXPECT_EQ(SequencesThatFit(beside, limits, 0), 0);
  EXPECT_EQ(SequencesThatFit(beside, limits, uint64_t{1} << 40), 1000);
  // A context within the window needs no block to spare.
  EXPECT_EQ(SequenceBytes(beside, {1000, 32, 8}), 2u * 1024 + 2 * 2048 + 128);
}

TEST(PlanKv, NothingFits) {
  const auto plan = PlanKv(kGroups, {3, 100, 8}, 3071, 0);
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(Message(plan.status()).find("--kv-cache-bytes"), std::string::npos);
}

}  // namespace
}  // namespace shardline
