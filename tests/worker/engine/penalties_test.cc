// Penalties against logits worked out by hand.
#include "worker/engine/penalties.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardline {
namespace {

using ::testing::ElementsAre;

FlatSampling Repetition(float penalty, int32_t last_n) {
  FlatSampling s{};
  s.repetition_penalty = penalty;
  s.repeat_last_n = last_n;
  return s;
}

// Six tokens; odd ids have negative logits, 4 is zero.
std::vector<float> After(const FlatSampling& sampling, std::vector<uint32_t> prompt,
                         std::vector<uint32_t> output) {
  Penalties penalties(sampling, prompt);
  for (const uint32_t token : output) penalties.Push(token);
  std::vector<float> logits = {4, -3, 2, -1, 0, -5};
  std::vector<ChangedLogit> changed;
  penalties.Apply(logits, changed);
  return logits;
}

TEST(RepetitionPenalty, DividesPositiveAndMultipliesNegativeOnceForAllTokens) {
  // 0, 1 and 4 occur, some of them often; prompt and output count alike.
  EXPECT_THAT(After(Repetition(2, -1), {0, 1, 1, 0}, {4, 0}), ElementsAre(2, -6, 2, -1, 0, -5));
}

TEST(RepetitionPenalty, WindowZeroIsNoPenalty) {
  EXPECT_THAT(After(Repetition(2, 0), {0, 1, 2}, {3, 4, 5}), ElementsAre(4, -3, 2, -1, 0, -5));
}

TEST(RepetitionPenalty, WindowLargerThanTheHistoryIsAllOfIt) {
  const std::vector<float> all = After(Repetition(2, -1), {0, 1}, {3});
  EXPECT_THAT(all, ElementsAre(2, -6, 2, -2, 0, -5));
  EXPECT_EQ(After(Repetition(2, 100), {0, 1}, {3}), all);
  EXPECT_EQ(After(Repetition(2, 3), {0, 1}, {3}), all);
  EXPECT_EQ(After(Repetition(2, 2147483647), {0, 1}, {3}), all);
}

TEST(RepetitionPenalty, WindowReachesIntoThePrompt) {
  // The last three of 0 1 2 | 3: tokens 1, 2, 3.
  EXPECT_THAT(After(Repetition(2, 3), {0, 1, 2}, {3}), ElementsAre(4, -6, 1, -2, 0, -5));
  // Prompt alone, longer than the window.
  EXPECT_THAT(After(Repetition(2, 2), {0, 1, 2, 5}, {}), ElementsAre(4, -3, 1, -1, 0, -10));
}

TEST(RepetitionPenalty, TokensSlideOutOfTheWindow) {
  EXPECT_THAT(After(Repetition(2, 2), {0}, {1}), ElementsAre(2, -6, 2, -1, 0, -5));
  EXPECT_THAT(After(Repetition(2, 2), {0}, {1, 2}), ElementsAre(4, -6, 1, -1, 0, -5));
  EXPECT_THAT(After(Repetition(2, 2), {0}, {1, 2, 2}), ElementsAre(4, -3, 1, -1, 0, -5));
  // One of two occurrences leaves: the other still counts.
  EXPECT_THAT(After(Repetition(2, 2), {}, {3, 3, 0}), ElementsAre(2, -3, 2, -2, 0, -5));
  EXPECT_THAT(After(Repetition(2, 1), {}, {3, 3, 0}), ElementsAre(2, -3, 2, -1, 0, -5));
}

TEST(RepetitionPenalty, BelowOneIsAReward) {
  EXPECT_THAT(After(Repetition(0.5f, -1), {0, 1}, {}), ElementsAre(8, -1.5, 2, -1, 0, -5));
}

TEST(RepetitionPenalty, OneIsOff) {
  Penalties penalties(Repetition(1, -1), std::vector<uint32_t>{0, 1, 2});
  penalties.Push(3);
  std::vector<float> logits = {1, 2, 3, 4};
  std::vector<ChangedLogit> changed;
  penalties.Apply(logits, changed);
  EXPECT_TRUE(changed.empty());
}

TEST(RepetitionPenalty, FiniteLogitsStayFinite) {
  Penalties penalties(Repetition(1e-30f, -1), std::vector<uint32_t>{0, 1});
  std::vector<float> logits = {1e30f, -1.0f};
  std::vector<ChangedLogit> changed;
  penalties.Apply(logits, changed);
  EXPECT_EQ(logits[0], std::numeric_limits<float>::max());
}

TEST(OutputPenalties, CountOutputTokensOnly) {
  FlatSampling s = Repetition(1, 64);
  s.frequency_penalty = 0.5f;
  s.presence_penalty = 0.25f;
  // 0 twice, 5 once in the output; 2 in the prompt alone.
  EXPECT_THAT(After(s, {2, 2, 0}, {0, 0, 5}), ElementsAre(2.75, -3, 2, -1, 0, -5.75));
}

TEST(OutputPenalties, AreNotLimitedByTheRepetitionWindow) {
  FlatSampling s = Repetition(2, 1);
  s.frequency_penalty = 1;
  // 2 is in the window: halved, then less one. 0 has slid out: only its two occurrences count.
  EXPECT_THAT(After(s, {}, {0, 0, 2}), ElementsAre(2, -3, 0, -1, 0, -5));
}

TEST(OutputPenalties, NegativeOnesRaise) {
  FlatSampling s = Repetition(1, 0);
  s.frequency_penalty = -1;
  s.presence_penalty = -0.5f;
  EXPECT_THAT(After(s, {}, {1, 1}), ElementsAre(4, -0.5, 2, -1, 0, -5));
}

TEST(Penalties, RemembersRawLogits) {
  Penalties penalties(Repetition(2, -1), std::vector<uint32_t>{2});
  std::vector<float> logits = {1, 1, 8};
  std::vector<ChangedLogit> changed;
  penalties.Apply(logits, changed);
  ASSERT_EQ(changed.size(), 1u);
  EXPECT_EQ(changed[0].id, 2u);
  EXPECT_EQ(changed[0].raw, 8);
  EXPECT_EQ(logits[2], 4);
}

}  // namespace
}  // namespace shardline
