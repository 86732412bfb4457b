// Each rule of sampling alone, on rows small enough to work out by hand.
#include "worker/engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "tests/worker/engine/submits.h"
#include "worker/engine/philox.h"

namespace shardline {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
const float kLn2 = std::log(2.0f);

Sampler Make(const Submit& submit, uint32_t vocabulary, std::vector<uint32_t> eos = {}) {
  auto sampler = Sampler::Create(submit, 0, vocabulary, eos);
  EXPECT_TRUE(sampler.ok()) << sampler.status();
  return *std::move(sampler);
}

Sample Next(const Submit& submit, std::vector<float> logits, std::vector<uint32_t> eos = {}) {
  SampleScratch scratch;
  const std::vector<float> before = logits;
  const Sample sample = Make(submit, logits.size(), eos).Next(logits, scratch);
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(before[i])) continue;
    EXPECT_EQ(logits[i], before[i]) << "raw logits are given back";
  }
  return sample;
}

// All tokens that any of 600 seeds draws.
std::set<uint32_t> Reachable(const FlatSampling& sampling, const std::vector<float>& logits) {
  std::set<uint32_t> ids;
  Submit submit = PlainSubmit(1, {0}, 1);
  submit.header.sampling = sampling;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    submit.header.sampling.seed = seed;
    ids.insert(Next(submit, logits).token.id);
  }
  return ids;
}

TEST(Greedy, TakesTheLargestAndTheLowerIdOfEquals) {
  Submit submit = PlainSubmit(1, {0}, 1);
  submit.header.sampling.temperature = 0;
  EXPECT_EQ(Next(submit, {1, 5, 3, 5}).token.id, 1u);
  EXPECT_EQ(Next(submit, {-kInf, -7, -kInf}).token.id, 1u);
}

TEST(Greedy, ComesAfterBiasAndPenalties) {
  Submit submit = PlainSubmit(1, {1}, 1);
  submit.header.sampling.temperature = 0;
  submit.header.sampling.repetition_penalty = 2;
  submit.logit_bias = {{2, 1.5f}};
  // 5 / 2 = 2.5 < 3; 2 + 1.5 = 3.5 wins. Bias comes before the penalty: (4 + 1.5) / 2 < 3.
  EXPECT_EQ(Next(submit, {3, 5, 2}).token.id, 2u);
  submit.logit_bias = {{1, 1.5f}};
  EXPECT_EQ(Next(submit, {3, 4, 2}).token.id, 0u);
  // A bias can turn the sign that decides how the penalty works: (-1 + 9) / 2 = 4.
  submit.logit_bias = {{1, 9.0f}};
  EXPECT_EQ(Next(submit, {4.5f, -1, 2}).token.id, 0u);
  EXPECT_EQ(Next(submit, {3.5f, -1, 2}).token.id, 1u);
}

TEST(Greedy, IgnoresTheFilters) {
  Submit submit = PlainSubmit(1, {0}, 1);
  submit.header.sampling.temperature = 0;
  submit.header.sampling.typical_p = 0.1f;  // alone, this would drop the likeliest token
  EXPECT_EQ(Next(submit, {0, 1, 1.5f, 0}).token.id, 2u);
}

TEST(Draw, InvertsTheDistributionInIdOrder) {
  // Equal weights: token floor(4 u).
  Submit submit = PlainSubmit(1, {0}, 64);
  submit.header.sampling.seed = 42;
  Sampler sampler = Make(submit, 4);
  SampleScratch scratch;
  for (uint32_t i = 0; i < 64; ++i) {
    std::vector<float> logits = {2, 2, 2, 2};
    const double u = UniformForToken(42, 0, i);
    const uint32_t id = sampler.Next(logits, scratch).token.id;
    EXPECT_EQ(id, static_cast<uint32_t>(4 * u)) << i;
    sampler.Push(id);
  }
}

TEST(Draw, TemperatureDividesLogits) {
  // Logits 0 and ln 2 * T at temperature T: odds 1 to 2.
  for (const float temperature : {0.01f, 0.5f, 7.0f, 100.0f}) {
    Submit submit = PlainSubmit(1, {0}, 1);
    submit.header.sampling.temperature = temperature;
    for (uint64_t seed = 0; seed < 200; ++seed) {
      submit.header.sampling.seed = seed;
      const double u = UniformForToken(seed, 0, 0);
      EXPECT_EQ(Next(submit, {0, kLn2 * temperature}).token.id, u < 1.0 / 3 ? 0u : 1u);
    }
  }
}

TEST(Draw, HardlyAboveZeroTemperatureIsStillADraw) {
  FlatSampling s = PlainSampling();
  s.temperature = 1e-40f;
  EXPECT_THAT(Reachable(s, {1, 3, 3, 2.9999f}), UnorderedElementsAre(1, 2));
}

TEST(TopK, KeepsTheLikeliestAndTheLowerIdsOfEquals) {
  FlatSampling s = PlainSampling();
  s.top_k = 2;
  EXPECT_THAT(Reachable(s, {1, 2, 1.5f, 1.9f}), UnorderedElementsAre(1, 3));
  EXPECT_THAT(Reachable(s, {1, 1, 1, 1}), UnorderedElementsAre(0, 1));
  s.top_k = 3;
  EXPECT_THAT(Reachable(s, {1, 1, 2, 1}), UnorderedElementsAre(0, 1, 2));
  s.top_k = 1;
  EXPECT_THAT(Reachable(s, {1, 2, 2, 0}), UnorderedElementsAre(1));
  s.top_k = 2147483647;
  EXPECT_THAT(Reachable(s, {1, 1, -kInf, 1}), UnorderedElementsAre(0, 1, 3));
}

TEST(TopP, KeepsTheTokenThatReachesTheThreshold) {
  FlatSampling s = PlainSampling();
  const std::vector<float> four = {0, 0, 0, 0};  // 1/4 each, exactly
  s.top_p = 0.5f;
  EXPECT_THAT(Reachable(s, four), UnorderedElementsAre(0, 1));
  s.top_p = 0.500001f;
  EXPECT_THAT(Reachable(s, four), UnorderedElementsAre(0, 1, 2));
  s.top_p = 0.25f;
  EXPECT_THAT(Reachable(s, four), UnorderedElementsAre(0));
  s.top_p = 1e-6f;
  EXPECT_THAT(Reachable(s, four), UnorderedElementsAre(0));
  s.top_p = 0.6f;  // 0.5 + 0.25
  EXPECT_THAT(Reachable(s, {0, 2 * kLn2, kLn2, 0}), UnorderedElementsAre(1, 2));
}

TEST(TypicalP, KeepsWhatIsNearestToTheEntropy) {
  FlatSampling s = PlainSampling();
  // 1/2, 1/4, 1/8, 1/8: entropy 1.75 bits, so 1/4 (2 bits) is nearest, then 1/2 (1), then 1/8 (3).
  const std::vector<float> row = {3 * kLn2, 2 * kLn2, kLn2, kLn2};
  s.typical_p = 0.2f;
  EXPECT_THAT(Reachable(s, row), UnorderedElementsAre(1));
  s.typical_p = 0.7f;
  EXPECT_THAT(Reachable(s, row), UnorderedElementsAre(0, 1));
  s.typical_p = 0.8f;  // equals: the lower id
  EXPECT_THAT(Reachable(s, row), UnorderedElementsAre(0, 1, 2));
  s.typical_p = 0.5f;  // exactly reached by two of four
  EXPECT_THAT(Reachable(s, {1, 1, 1, 1}), UnorderedElementsAre(0, 1));
}

TEST(MinP, IsAShareOfTheLargest) {
  FlatSampling s = PlainSampling();
  const std::vector<float> row = {0, 2 * kLn2, kLn2, -kInf};  // weights 1/4, 1, 1/2
  s.min_p = 0.3f;
  EXPECT_THAT(Reachable(s, row), UnorderedElementsAre(1, 2));
  s.min_p = 0.6f;
  EXPECT_THAT(Reachable(s, row), UnorderedElementsAre(1));
  s.min_p = 1;
  EXPECT_THAT(Reachable(s, {2, 5, 5, 4}), UnorderedElementsAre(1, 2));
  s.min_p = 0.2f;
  EXPECT_THAT(Reachable(s, row), UnorderedElementsAre(0, 1, 2));
}

TEST(MinP, KeepsWhatIsExactlyThatShareBesideOtherFilters) {
  FlatSampling s = PlainSampling();
  s.min_p = 1;
  s.top_k = 3;
  EXPECT_THAT(Reachable(s, {2, 5, 5, 4}), UnorderedElementsAre(1, 2));
}

TEST(TopP, ReachesFarIntoFlatRows) {
  FlatSampling s = PlainSampling();
  s.top_p = 0.5f;
  const std::set<uint32_t> ids = Reachable(s, std::vector<float>(4000, 1.0f));  // the first 2000
  EXPECT_LT(*ids.begin(), 100u);
  EXPECT_GE(*ids.rbegin(), 1900u);
  EXPECT_LT(*ids.rbegin(), 2000u);
}

TEST(Filters, EachSeesTheSurvivorsRenormalised) {
  FlatSampling s = PlainSampling();
  // 4/8, 2/8, 1/8, 1/8. top_k 2 leaves 2/3 and 1/3, so top_p 0.6 is reached by the first alone (0.5
  // is not 0.6).
  const std::vector<float> row = {2 * kLn2, kLn2, 0, 0};
  s.top_p = 0.6f;
  EXPECT_THAT(Reachable(s, row), UnorderedElementsAre(0, 1));
  s.top_k = 2;
  EXPECT_THAT(Reachable(s, row), UnorderedElementsAre(0));
}

TEST(Filters, MinPLooksAtWhatTypicalPLeft) {
  FlatSampling s = PlainSampling();
  // Typical keeps 1/4 and one 1/8-ish; the largest survivor is then 1/4, not 1/2.
  const std::vector<float> row = {3 * kLn2, 2 * kLn2, kLn2, kLn2};
  s.typical_p = 0.2f;
  s.min_p = 0.9f;
  EXPECT_THAT(Reachable(s, row), UnorderedElementsAre(1));
}

TEST(Filters, TopPAfterTypicalPOrdersByProbability) {
  FlatSampling s = PlainSampling();
  const std::vector<float> row = {3 * kLn2, 2 * kLn2, kLn2, kLn2};
  s.typical_p = 0.7f;  // leaves 1/2 and 1/4: 2/3 and 1/3
  s.top_p = 0.5f;
  EXPECT_THAT(Reachable(s, row), UnorderedElementsAre(0));
}

TEST(MinNewTokens, MasksEosAndStopIdsUntilReached) {
  Submit submit = PlainSubmit(1, {0}, 8);
  submit.header.sampling.temperature = 0;
  submit.header.min_new_tokens = 2;
  submit.stop_token_ids = {2, 999999};
  Sampler sampler = Make(submit, 4, {3});
  SampleScratch scratch;
  const std::vector<float> row = {1, 0, 5, 9};
  for (const uint32_t expected : {0u, 0u, 3u}) {
    std::vector<float> logits = row;
    EXPECT_EQ(sampler.Next(logits, scratch).token.id, expected);
    EXPECT_EQ(logits, row);
    sampler.Push(expected);
  }
}

TEST(MinNewTokens, CountsReplayedTokens) {
  Submit submit = PlainSubmit(1, {0}, 8);
  submit.header.sampling.temperature = 0;
  submit.header.min_new_tokens = 2;
  submit.emitted = {1, 1};
  EXPECT_EQ(Next(submit, {1, 0, 5, 9}, {3}).token.id, 3u);
}

TEST(Replay, IndexAndPenaltiesContinue) {
  Submit submit = PlainSubmit(1, {0, 1}, 30);
  submit.header.sampling.seed = 99;
  submit.header.sampling.repetition_penalty = 1.5f;
  submit.header.sampling.repeat_last_n = 4;
  submit.header.sampling.frequency_penalty = 0.3f;
  const std::vector<float> row = {1, 2, 3, 2.5f, 2.2f, 1.1f, 3, 0.5f};
  SampleScratch scratch;
  Sampler whole = Make(submit, row.size());
  std::vector<uint32_t> tokens;
  for (int i = 0; i < 30; ++i) {
    std::vector<float> logits = row;
    Submit resumed = submit;
    resumed.emitted = tokens;
    const uint32_t id = whole.Next(logits, scratch).token.id;
    EXPECT_EQ(Make(resumed, row.size()).Next(logits, scratch).token.id, id) << i;
    whole.Push(id);
    tokens.push_back(id);
  }
}

TEST(NonFinite, IsToldAndNothingIsDrawn) {
  const Submit submit = PlainSubmit(1, {0}, 1);
  EXPECT_TRUE(Next(submit, {1, kNaN, 2}).non_finite);
  EXPECT_TRUE(Next(submit, {1, kInf, 2}).non_finite);
  EXPECT_TRUE(Next(submit, {-kInf, -kInf}).non_finite);
  EXPECT_FALSE(Next(submit, {-kInf, 0}).non_finite);
}

TEST(NonFinite, WhenTheOnlyPossibleTokensAreMasked) {
  Submit submit = PlainSubmit(1, {0}, 4);
  submit.header.min_new_tokens = 1;
  EXPECT_TRUE(Next(submit, {-kInf, 3}, {1}).non_finite);
}

TEST(Logprobs, AreOfRawLogits) {
  Submit submit = PlainSubmit(1, {0}, 1);
  submit.header.sampling.temperature = 0;
  submit.header.flags = kWantLogprobs;
  submit.header.top_logprobs = 2;
  submit.logit_bias = {{3, 50.0f}};  // forces token 3
  // Weights 1, 2, 4, 1.
  const Sample sample = Next(submit, {0, kLn2, 2 * kLn2, 0});
  EXPECT_EQ(sample.token.id, 3u);
  EXPECT_NEAR(sample.token.logprob, std::log(1.0 / 8), 1e-6);
  EXPECT_EQ(sample.token.rank, 4u);  // equal to token 0, which has the lower id
  ASSERT_EQ(sample.top.size(), 2u);
  EXPECT_EQ(sample.top[0].id, 2u);
  EXPECT_NEAR(sample.top[0].logprob, std::log(0.5), 1e-6);
  EXPECT_EQ(sample.top[1].id, 1u);
  EXPECT_NEAR(sample.top[1].logprob, std::log(0.25), 1e-6);
}

TEST(Logprobs, ExactlyAsManyCandidatesAsAsked) {
  Submit submit = PlainSubmit(1, {0}, 1);
  submit.header.flags = kWantLogprobs;
  submit.header.top_logprobs = 0;
  EXPECT_TRUE(Next(submit, {0, 1}).top.empty());
  submit.header.top_logprobs = 3;
  const Sample sample = Next(submit, {-kInf, 1, -kInf, 1});
  ASSERT_EQ(sample.top.size(), 3u);
  EXPECT_EQ(sample.top[0].id, 1u);
  EXPECT_EQ(sample.top[1].id, 3u);
  EXPECT_EQ(sample.top[2].id, 0u);
  EXPECT_EQ(sample.top[2].logprob, -kInf);
}

TEST(Logprobs, AreAbsentUnlessAskedFor) {
  const Sample sample = Next(PlainSubmit(1, {0}, 1), {0, 1});
  EXPECT_TRUE(std::isnan(sample.token.logprob));
  EXPECT_EQ(sample.token.rank, 0u);
}

TEST(Create, RefusesWhatIsOutOfRange) {
  const auto refused = [](auto change) {
    Submit submit = PlainSubmit(1, {0}, 1);
    change(submit);
    return !Sampler::Create(submit, 0, 8, {}).ok();
  };
  EXPECT_FALSE(refused([](Submit&) {}));
  EXPECT_TRUE(refused([](Submit& s) { s.header.sampling.temperature = kNaN; }));
  EXPECT_TRUE(refused([](Submit& s) { s.header.sampling.temperature = -1; }));
  EXPECT_TRUE(refused([](Submit& s) { s.header.sampling.top_p = 1.5f; }));
  EXPECT_TRUE(refused([](Submit& s) { s.header.sampling.repetition_penalty = 0; }));
  EXPECT_TRUE(refused([](Submit& s) { s.header.sampling.repeat_last_n = -2; }));
  EXPECT_TRUE(refused([](Submit& s) { s.prompt = {8}; }));
  EXPECT_TRUE(refused([](Submit& s) { s.emitted = {8}; }));
  EXPECT_TRUE(refused([](Submit& s) { s.logit_bias = {{8, 1.0f}}; }));
  EXPECT_TRUE(refused([](Submit& s) { s.logit_bias = {{1, kInf}}; }));
}

}  // namespace
}  // namespace shardline
