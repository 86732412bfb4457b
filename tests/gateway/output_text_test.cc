#include "gateway/output_text.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/gateway/fake_tokenizer.h"

namespace shardline {
namespace {

struct Said {
  std::string text;
  std::optional<size_t> stop_string;
  size_t tokens = 0;  // pushed until the stop string
};

Said Say(const FakeTokenizer& tokenizer, const TextRules& rules, const std::vector<uint32_t>& ids,
         bool last_ends = false) {
  OutputText output(&tokenizer, rules);
  Said said;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto piece = output.Push(ids[i], last_ends && i + 1 == ids.size());
    said.text += piece.text;
    ++said.tokens;
    if (piece.stop_string.has_value()) {
      said.stop_string = piece.stop_string;
      return said;
    }
  }
  const auto piece = output.Finish();
  said.text += piece.text;
  said.stop_string = piece.stop_string;
  return said;
}

std::vector<uint32_t> Bytes(std::string_view text) {
  return FakeTokenizer().Encode(text, {.add_special_tokens = false}).value();
}

TEST(OutputText, WholeCharactersOnly) {
  const FakeTokenizer tokenizer;
  OutputText output(&tokenizer, {});
  EXPECT_EQ(output.Push(0xE2).text, "");
  EXPECT_EQ(output.Push(0x82).text, "");
  EXPECT_EQ(output.Push(0xAC).text, "€");
  EXPECT_EQ(output.Push(0xF0).text, "");
  EXPECT_EQ(output.Finish().text, "\xEF\xBF\xBD");
}

TEST(OutputText, SpecialTokensShowOnlyOnRequest) {
  const FakeTokenizer tokenizer;
  EXPECT_EQ(Say(tokenizer, {}, {'a', FakeTokenizer::kBos, 'b'}).text, "ab");
  EXPECT_EQ(Say(tokenizer, {.include_special_text = true}, {'a', FakeTokenizer::kBos, 'b'}).text,
            "a<bos>b");
}

TEST(OutputText, TheEndingTokenShowsOnlyWithIncludeStop) {
  const FakeTokenizer tokenizer;
  const std::vector<uint32_t> word = {'a', FakeTokenizer::kEnd};
  EXPECT_EQ(Say(tokenizer, {}, word, true).text, "a");
  EXPECT_EQ(Say(tokenizer, {}, word, false).text, "aEND");
  EXPECT_EQ(Say(tokenizer, {.include_stop = true}, word, true).text, "aEND");
  // A special one needs include_special_text as well.
  const std::vector<uint32_t> eos = {'a', FakeTokenizer::kEos};
  EXPECT_EQ(Say(tokenizer, {.include_stop = true}, eos, true).text, "a");
  EXPECT_EQ(Say(tokenizer, {.include_special_text = true, .include_stop = true}, eos, true).text,
            "a<eos>");
  EXPECT_EQ(Say(tokenizer, {.include_special_text = true}, eos, true).text, "a");
}

TEST(OutputText, SentencePiecesFirstSpaceIsDroppedOnce) {
  const FakeTokenizer strips(true), keeps(false);
  const std::vector<uint32_t> ids = {FakeTokenizer::kSpaceHello, FakeTokenizer::kSpaceHello};
  EXPECT_EQ(Say(strips, {}, ids).text, "hello hello");
  EXPECT_EQ(Say(keeps, {}, ids).text, " hello hello");
  EXPECT_EQ(Say(strips, {}, {FakeTokenizer::kBos, FakeTokenizer::kSpaceHello}).text, "hello");
}

TEST(OutputText, StopStringAcrossTokensEndsTheOutput) {
  const FakeTokenizer tokenizer;
  const TextRules rules{.stop_strings = {"\n\n", "stop"}};
  const Said said = Say(tokenizer, rules, Bytes("go st stop here"));
  EXPECT_EQ(said.text, "go st ");
  EXPECT_EQ(said.stop_string, 1u);
  EXPECT_EQ(said.tokens, 10u);
  TextRules included = rules;
  included.include_stop = true;
  EXPECT_EQ(Say(tokenizer, included, Bytes("go st stop here")).text, "go st stop");
}

TEST(OutputText, HeldBackTextComesAtTheEnd) {
  const FakeTokenizer tokenizer;
  const TextRules rules{.stop_strings = {"stop"}};
  OutputText output(&tokenizer, rules);
  std::string text;
  for (const uint32_t id : Bytes("a sto")) text += output.Push(id).text;
  EXPECT_EQ(text, "a ");
  EXPECT_EQ(output.Finish().text, "sto");
}

TEST(OutputText, StopStringsWaitForMinNewTokens) {
  const FakeTokenizer tokenizer;
  const Said said = Say(tokenizer, {.stop_strings = {"ab"}, .min_new_tokens = 3}, Bytes("ababab"));
  EXPECT_EQ(said.text, "abab");  // the one begun within the first three tokens does not count
  EXPECT_EQ(said.stop_string, 0u);
  EXPECT_EQ(said.tokens, 6u);
}

// Token i is the i-th piece of a text.
class PiecesTokenizer : public FakeTokenizer {
 public:
  explicit PiecesTokenizer(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}
  std::string_view Raw(uint32_t id) const override { return pieces_[id]; }
  bool IsSpecial(uint32_t) const override { return false; }

 private:
  const std::vector<std::string> pieces_;
};

// Half characters, overlapping stop strings, several that end together: however the text is divided
// into tokens, what comes out is the same.
TEST(OutputText, StopStringsInEveryDivisionIntoTokens) {
  const std::string text = "a\xC3\xA9xx\xE2\x98\x83yx\xC3!";  // a é x x ☃ y x and a broken half
  const std::string shown = "a\xC3\xA9xx\xE2\x98\x83yx\xEF\xBF\xBD!";
  struct Case {
    std::vector<std::string> stops;
    std::string before, stop;  // empty stop: none matches
  };
  const std::vector<Case> cases = {
      {{"\xE2\x98\x83"}, "a\xC3\xA9xx", "\xE2\x98\x83"},
      {{"x\xE2\x98\x83", "\xE2\x98\x83", "xx\xE2\x98\x83y"}, "a\xC3\xA9x", "x\xE2\x98\x83"},
      {{"xx\xE2\x98\x83z", "\xE2\x98\x83y"}, "a\xC3\xA9xx", "\xE2\x98\x83y"},
      {{"\xC3\xA9x", "\xC3\xA9"}, "a", "\xC3\xA9"},
      {{"\xEF\xBF\xBD!", "zz"}, "a\xC3\xA9xx\xE2\x98\x83yx", "\xEF\xBF\xBD!"},
      {{"a\xC3\xA9xx\xE2\x98\x83z", "yy"}, shown, ""},
  };
  for (uint32_t cuts = 0; cuts < 1u << (text.size() - 1); ++cuts) {
    std::vector<std::string> pieces(1);
    for (size_t i = 0; i < text.size(); ++i) {
      pieces.back().push_back(text[i]);
      if (i + 1 < text.size() && (cuts >> i & 1) != 0) pieces.emplace_back();
    }
    const PiecesTokenizer tokenizer(pieces);
    std::vector<uint32_t> ids(pieces.size());
    std::iota(ids.begin(), ids.end(), 0u);
    for (const Case& c : cases) {
      for (const bool include : {false, true}) {
        const Said said = Say(tokenizer, {.stop_strings = c.stops, .include_stop = include}, ids);
        ASSERT_EQ(said.text, include ? c.before + c.stop : c.before) << cuts;
        ASSERT_EQ(said.stop_string.has_value(), !c.stop.empty()) << cuts;
        if (said.stop_string.has_value()) {
          ASSERT_EQ(c.stops[*said.stop_string], c.stop);
        }
      }
    }
  }
}

TEST(OutputText, NoTokenizerNoText) {
  OutputText output(nullptr, {});
  EXPECT_EQ(output.Push(5).text, "");
  EXPECT_EQ(output.Finish().text, "");
}

}  // namespace
}  // namespace shardline
