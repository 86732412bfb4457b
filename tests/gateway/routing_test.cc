#include "gateway/routing.h"

#include <gtest/gtest.h>

#include <numeric>

namespace shardline {
namespace {

using Candidates = std::vector<Routing::Candidate>;

// `blocks` whole blocks whose ids begin at `first`.
std::vector<uint32_t> Prompt(size_t blocks, uint32_t first = 0) {
  std::vector<uint32_t> prompt(blocks * kPrefixBlockTokens);
  std::iota(prompt.begin(), prompt.end(), first);
  return prompt;
}
std::vector<uint64_t> Hashes(const std::vector<uint32_t>& prompt) {
  return PrefixHashes(prompt, 0);
}

TEST(PrefixHashes, AreEqualAsFarAsThePromptsAre) {
  const std::vector<uint32_t> one = Prompt(4);
  std::vector<uint32_t> other = one;
  other[2 * kPrefixBlockTokens + 5] = 99999;
  const auto a = Hashes(one), b = Hashes(other);
  ASSERT_EQ(a.size(), 4u);
  EXPECT_EQ(a[0], b[0]);
  EXPECT_EQ(a[1], b[1]);
  EXPECT_NE(a[2], b[2]);
  EXPECT_NE(a[3], b[3]);  // the same tokens behind others
  EXPECT_NE(PrefixHashes(one, 1)[0], a[0]);
}

TEST(PrefixHashes, OfWholeBlocksAndOfSoManyAtMost) {
  std::vector<uint32_t> prompt = Prompt(2);
  prompt.pop_back();
  EXPECT_EQ(Hashes(prompt).size(), 1u);
  EXPECT_TRUE(Hashes({1, 2, 3}).empty());
  EXPECT_EQ(Hashes(Prompt(kMaxPrefixBlocks + 3)).size(), kMaxPrefixBlocks);
}

TEST(RecentPrefixes, ForgetsTheLongestUnusedAndEndsBeforeBeginnings) {
  RecentPrefixes recent(6);
  const auto a = Hashes(Prompt(3, 0)), b = Hashes(Prompt(3, 1000)), c = Hashes(Prompt(2, 2000));
  recent.Add(a);
  recent.Add(b);
  EXPECT_EQ(recent.Match(a), 3u);
  recent.Add(a);  // used again
  recent.Add(c);
  EXPECT_EQ(recent.size(), 6u);
  EXPECT_EQ(recent.Match(a), 3u);
  EXPECT_EQ(recent.Match(b), 1u);  // its last two went
  EXPECT_EQ(recent.Match(c), 2u);
  recent.Clear();
  EXPECT_EQ(recent.size(), 0u);
  EXPECT_EQ(recent.Match(a), 0u);
}

TEST(RecentPrefixes, APromptLongerThanItsMemoryLeavesItsBeginning) {
  RecentPrefixes recent(2);
  const auto hashes = Hashes(Prompt(5));
  recent.Add(hashes);
  EXPECT_EQ(recent.size(), 2u);
  EXPECT_EQ(recent.Match(hashes), 2u);
}

TEST(Routing, TheLeastBusyWithoutAnythingShared) {
  const Routing routing({.groups = 3});
  EXPECT_EQ(routing.Choose({}, {}), std::nullopt);
  EXPECT_EQ(routing.Choose(Candidates{{0, 0.02}, {1, 0.01}, {2, 0.03}}, {}), 1u);
  EXPECT_EQ(routing.Choose(Candidates{{2, 0.9}}, Hashes(Prompt(2))), 2u);
  EXPECT_EQ(routing.Choose(Candidates{{0, 0.5}, {1, 0.5}}, {}), 0u);
}

TEST(Routing, TheLongestSharedBeginningUnlessItsGroupIsBusier) {
  Routing routing({.groups = 3, .load_margin = 0.25});
  const std::vector<uint32_t> prompt = Prompt(4);
  routing.Given(0, Hashes({prompt.begin(), prompt.begin() + kPrefixBlockTokens}));
  routing.Given(1, Hashes(prompt));
  const auto hashes = Hashes(prompt);
  EXPECT_EQ(routing.Choose(Candidates{{0, 0.5}, {1, 0.5}, {2, 0.25}}, hashes), 1u);
  EXPECT_EQ(routing.Choose(Candidates{{0, 0.5}, {1, 0.75}, {2, 0.5}}, hashes), 1u);
  EXPECT_EQ(routing.Choose(Candidates{{0, 0.5}, {1, 0.8}, {2, 0.5}}, hashes), 0u);
  EXPECT_EQ(routing.Choose(Candidates{{0, 0.8}, {1, 0.8}, {2, 0.5}}, hashes), 2u);
  EXPECT_EQ(routing.Choose(Candidates{{0, 0.5}, {2, 0.5}}, hashes), 0u);  // 1 has no room
  routing.Given(2, hashes);                                               // equally long: by load
  EXPECT_EQ(routing.Choose(Candidates{{1, 0.5}, {2, 0.4}}, hashes), 2u);
  routing.Lost(1);
  routing.Lost(2);
  EXPECT_EQ(routing.Choose(Candidates{{0, 0.5}, {1, 0.4}, {2, 0.4}}, hashes), 0u);
}

}  // namespace
}  // namespace shardline
