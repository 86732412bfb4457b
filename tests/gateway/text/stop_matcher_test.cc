// StopMatcher against a definition by search, over every split of the text.
#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>
#include <vector>

#include "gateway/text/detokenizer.h"

namespace shardline {
namespace {

struct Expected {
  std::string text;
  std::optional<std::string> stop;
};

// The stop string whose end comes first; at the same end the longest.
Expected Search(const std::string& text, const std::vector<std::string>& stops,
                size_t armed_from = 0) {
  for (size_t end = 1; end <= text.size(); ++end) {
    const std::string* best = nullptr;
    for (const std::string& stop : stops) {
      if (stop.empty() || stop.size() > end || end - stop.size() < armed_from) continue;
      if (text.compare(end - stop.size(), stop.size(), stop) != 0) continue;
      if (best == nullptr || stop.size() > best->size()) best = &stop;
    }
    if (best != nullptr) return {text.substr(0, end - best->size()), *best};
  }
  return {text, std::nullopt};
}

// `cuts`: bit i set means that a push ends behind byte i.
Expected Streamed(const std::string& text, const std::vector<std::string>& stops, uint64_t cuts) {
  StopMatcher matcher(stops);
  Expected got;
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && (cuts >> i & 1) == 0) continue;
    const StopMatcher::Result result = matcher.Push(text.substr(begin, i + 1 - begin));
    begin = i + 1;
    got.text += result.text;
    if (result.matched) {
      EXPECT_EQ(stops[*result.matched], result.matched_text);
      got.stop = result.matched_text;
      EXPECT_EQ(matcher.Push("more").text, "");
      return got;
    }
  }
  got.text += matcher.Finish();
  return got;
}

TEST(StopMatcher, EverySplitOfEveryShortText) {
  const std::vector<std::vector<std::string>> sets = {{"ab"},
                                                      {"aab", "ab"},
                                                      {"ab", "aab"},
                                                      {"aa"},
                                                      {"aba", "bab"},
                                                      {"abab", "ba"},
                                                      {"b", "ab", "aab"},
                                                      {"aaab", "aa"},
                                                      {"abaabb", "aabb", "abb"},
                                                      {"abcabd", "cab"},
                                                      {},
                                                      {""},
                                                      {"", "bb"},
                                                      {"ab", "ab"}};
  std::mt19937 random(7);
  for (const auto& stops : sets) {
    for (int round = 0; round < 60; ++round) {
      std::string text;
      for (size_t n = random() % 10; n > 0; --n) text.push_back("aabbcd"[random() % 6]);
      const Expected want = Search(text, stops);
      for (uint64_t cuts = 0; cuts < 1u << (text.empty() ? 0 : text.size() - 1); ++cuts) {
        const Expected got = Streamed(text, stops, cuts);
        ASSERT_EQ(got.text, want.text) << text << " " << cuts;
        ASSERT_EQ(got.stop, want.stop) << text << " " << cuts;
      }
    }
  }
}

TEST(StopMatcher, RandomSetsOfStopStrings) {
  std::mt19937 random(11);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops(1 + random() % 5);
    for (std::string& stop : stops) {
      for (size_t n = 1 + random() % 6; n > 0; --n) stop.push_back("abc"[random() % 3]);
    }
    std::string text;
    for (size_t n = random() % 30; n > 0; --n) text.push_back("abc"[random() % 3]);
    const uint64_t cuts = static_cast<uint64_t>(random()) << 32 | random();
    const Expected want = Search(text, stops), got = Streamed(text, stops, cuts);
    ASSERT_EQ(got.text, want.text);
    ASSERT_EQ(got.stop, want.stop);
  }
}

TEST(StopMatcher, TextIsSentAsSoonAsItIsCertain) {
  StopMatcher matcher({"stop", "opal"});
  EXPECT_EQ(matcher.Push("do it").text, "do it");
  EXPECT_EQ(matcher.Push(" sto").text, " ");
  EXPECT_EQ(matcher.Push("a").text, "stoa");
  EXPECT_EQ(matcher.Push("sto").text, "");
  const auto result = matcher.Push("pal");
  EXPECT_EQ(result.text, "");
  EXPECT_EQ(result.matched, 0u);
}

TEST(StopMatcher, MatchesBeginInArmedText) {
  StopMatcher matcher({"ab"});
  EXPECT_EQ(matcher.Push("abxa", false).text, "abxa");
  EXPECT_EQ(matcher.Push("b", true).text, "b");
  const auto result = matcher.Push("cab!", true);
  EXPECT_EQ(result.text, "c");
  EXPECT_EQ(result.matched_text, "ab");
}

TEST(StopMatcher, DisarmingReleasesWhatWasHeld) {
  StopMatcher matcher({"abc"});
  EXPECT_EQ(matcher.Push("ab").text, "");
  EXPECT_EQ(matcher.Push("c", false).text, "abc");
}

TEST(StopMatcher, HostileTextTakesLinearTime) {
  // Quadratic matching would take 256 times as long: minutes instead of a blink under the test's
  // limit.
  std::vector<std::string> stops;
  for (size_t i = 0; i < 16; ++i) stops.push_back(std::string(240 + i, 'a') + "b");
  StopMatcher matcher(stops);
  const std::string chunk(1000, 'a');
  size_t released = 0;
  for (int i = 0; i < 20000; ++i) released += matcher.Push(chunk).text.size();
  EXPECT_EQ(released, 20000u * 1000u - 255u);
  EXPECT_EQ(matcher.Push("b").matched, 15u);
}

}  // namespace
}  // namespace shardline
