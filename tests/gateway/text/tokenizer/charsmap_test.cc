// SentencePiece's replacement tables: what is found, and damaged ones.
#include "gateway/text/tokenizer/charsmap.h"

#include <absl/strings/escaping.h>
#include <gtest/gtest.h>

#include <random>

#include "gateway/text/tokenizer/charsmap_normalizers.h"
#include "gateway/text/tokenizer/graphemes.h"
#include "gateway/text/tokenizer/json_fields.h"
#include "shared/base/file.h"

namespace shardline {
namespace {

// The table of the fixtures (tools/make_tokenizer_fixtures.py, small_rules).
std::string Table() {
  const std::string path =
      SHARDLINE_SOURCE_DIR "/tests/gateway/text/tokenizer/testdata/unigram.json";
  const auto json = ParseJson(ReadWholeFile(path, size_t{1} << 20).value(), path).value();
  std::string bytes;
  EXPECT_TRUE(absl::Base64Unescape(
      json["normalizer"]["normalizers"][0]["precompiled_charsmap"].get<std::string>(), &bytes));
  return bytes;
}

Charsmap Map() { return *Charsmap::Parse(Table()); }

TEST(Charsmap, LongestAndShortest) {
  const Charsmap map = Map();
  const std::string_view acute = "e\u0301x", both = "e\u0301\u0323x";
  EXPECT_EQ(map.Longest(acute)->replacement, "é");
  EXPECT_EQ(map.Longest(acute)->length, 3u);
  EXPECT_EQ(map.Longest(both)->replacement, "q");
  EXPECT_EQ(map.Longest(both)->length, 5u);
  EXPECT_EQ(map.Shortest(both)->replacement, "é");
  EXPECT_EQ(map.Shortest(both)->length, 3u);
  EXPECT_FALSE(map.Longest("xe\u0301").has_value());
  EXPECT_FALSE(map.Longest("e").has_value());
  EXPECT_FALSE(map.Longest("").has_value());
  EXPECT_EQ(map.Longest("\x01")->replacement, "");
}

std::string Normalized(const Normalizer& normalizer, std::string text) {
  size_t origin = 0;
  EXPECT_TRUE(normalizer.Apply(text, origin).ok());
  return text;
}

TEST(Charsmap, PrecompiledReplacesShortClustersWhole) {
  const auto precompiled = MakePrecompiled(Map());
  EXPECT_EQ(Normalized(*precompiled, "e\u0301"), "é");
  EXPECT_EQ(Normalized(*precompiled, "e\u0301\u0323"), "é");  // 5 bytes, one cluster: one look-up
  EXPECT_EQ(Normalized(*precompiled, "e\u0301\u0323\u0323"), "e\u0301\u0323\u0323");  // too long
  EXPECT_EQ(Normalized(*precompiled, "\r\nx"), " x");
  EXPECT_EQ(Normalized(*precompiled, "ab"), "ab");  // two clusters
}

TEST(Charsmap, SentencePieceReplacesTheLongest) {
  const auto plain = MakeSentencePieceNormalizer({Map(), false, false});
  EXPECT_EQ(Normalized(*plain, "e\u0301\u0323\u0323ab"), "q\u0323ba");
  EXPECT_EQ(Normalized(*plain, " a  b "), "▁a▁▁b▁");
  const auto trimming = MakeSentencePieceNormalizer({Map(), true, true});
  EXPECT_EQ(Normalized(*trimming, "  a \t b\u3000 "), "▁a▁b");
  EXPECT_EQ(Normalized(*trimming, " \n "), "");
  EXPECT_EQ(Normalized(*trimming, ""), "");
}

TEST(Charsmap, Graphemes) {
  const auto cut = [](std::string_view text) {
    std::vector<size_t> ends;
    for (size_t i = 0; i < text.size();) ends.push_back(i = GraphemeEnd(text, i));
    return ends;
  };
  using Ends = std::vector<size_t>;
  EXPECT_EQ(cut("ab\r\n\n"), (Ends{1, 2, 4, 5}));
  EXPECT_EQ(cut("a\u0301\u0323b"), (Ends{5, 6}));
  EXPECT_EQ(cut("\n\u0301"), (Ends{1, 3}));
  EXPECT_EQ(cut("\u06001"), (Ends{3}));                       // a sign that is put in front
  EXPECT_EQ(cut("\u1100\u1161\u11A8\u1100"), (Ends{9, 12}));  // a syllable
  EXPECT_EQ(cut("©\u200D®x"), (Ends{7, 8}));
  EXPECT_EQ(cut("x\u200D®"), (Ends{4, 6}));
}

TEST(Charsmap, DamagedTables) {
  const std::string valid = Table();
  EXPECT_FALSE(Charsmap::Parse("").ok());
  EXPECT_FALSE(Charsmap::Parse(valid.substr(0, 3)).ok());
  EXPECT_FALSE(Charsmap::Parse(std::string(4, '\0')).ok());
  EXPECT_FALSE(Charsmap::Parse(std::string(8, '\xFF')).ok());
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = valid;
    for (int n = 0; n < 1 + round % 16; ++n)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    if (round % 4 == 0) bytes.resize(random() % bytes.size());
    const auto map = Charsmap::Parse(bytes);
    if (!map.ok()) continue;
    const auto normalizer = MakeSentencePieceNormalizer({*map, true, true});
    (void)Normalized(*normalizer, "e\u0301\u0323 ﬁ ½ ㎏\u3000x\x01 ''ab");
    (void)Normalized(*MakePrecompiled(*map), "e\u0301\u0323 ﬁ ½ ㎏\u3000x\x01 ''ab");
  }
}

}  // namespace
}  // namespace shardline
