#include "shared/wire/tokens.h"

#include <gtest/gtest.h>

#include <cmath>

#include "shared/wire/model.h"

namespace shardline {
namespace {

const RawBytes kRaw = [](uint32_t id) {
  return id == 1 ? std::string_view("\xE2\x82") : std::string_view("x");
};

TEST(TokenInfo, LogprobRankAndCandidates) {
  const std::vector<CandidateRecord> top = {{2, -0.5f}, {1, -1.5f}};
  const v1::TokenInfo info = ToTokenInfo({.id = 1, .logprob = -1.5f, .rank = 2}, top, kRaw);
  EXPECT_EQ(info.id(), 1u);
  EXPECT_EQ(info.raw(), "\xE2\x82");
  EXPECT_FLOAT_EQ(info.logprob(), -1.5f);
  EXPECT_EQ(info.rank(), 2u);
  ASSERT_EQ(info.top_size(), 2);
  EXPECT_EQ(info.top(0).id(), 2u);
  EXPECT_FLOAT_EQ(info.top(1).logprob(), -1.5f);
  EXPECT_EQ(info.top(1).raw(), "\xE2\x82");
}

TEST(TokenInfo, WhatWasNotAskedForStaysUnset) {
  const std::vector<CandidateRecord> none = {{0, NAN}};
  const v1::TokenInfo info = ToTokenInfo({.id = 3, .logprob = NAN, .rank = 0}, none, kRaw);
  EXPECT_FALSE(info.has_logprob());
  EXPECT_FALSE(info.has_rank());
  EXPECT_EQ(info.top_size(), 0);
  const v1::TokenInfo impossible =
      ToTokenInfo({.id = 3, .logprob = -INFINITY, .rank = 5}, {}, kRaw);
  EXPECT_TRUE(impossible.has_logprob());
}

TEST(Model, WhatTheWorkerSays) {
  Ready ready;
  ready.family = "llama";
  ready.dtype = "f32";
  ready.arithmetic = "f32";
  ready.quantisation = "Q4_1";
  ready.header.vocabulary_size = 49152;
  ready.header.context_tokens = 2048;
  ready.header.batch_invariant = 1;
  v1::Model model;
  FillModel(ready, &model);
  EXPECT_EQ(model.family(), "llama");
  EXPECT_EQ(model.dtype(), "f32");
  EXPECT_EQ(model.quantisation(), "Q4_1");
  EXPECT_EQ(model.vocabulary_size(), 49152u);
  EXPECT_EQ(model.context_tokens(), 2048u);
  EXPECT_TRUE(model.batch_invariant());
}

}  // namespace
}  // namespace shardline
