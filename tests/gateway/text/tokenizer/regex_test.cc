// Patterns in Oniguruma's syntax: what is rewritten for PCRE2, and limits.
#include "gateway/text/tokenizer/regex.h"

#include <gtest/gtest.h>

namespace shardline {
namespace {

// The matches, joined by '|'.
std::string Matches(std::string_view pattern, std::string_view text) {
  const auto regex = Regex::Compile(pattern);
  if (!regex.ok()) return Cat("error: ", Message(regex.status()));
  std::vector<TextRange> ranges;
  const absl::Status status = regex->FindAll(text, ranges);
  if (!status.ok()) return Cat("error: ", Message(status));
  std::string out;
  for (size_t i = 0; i < ranges.size(); ++i) {
    out += Cat(i > 0 ? "|" : "", text.substr(ranges[i].begin, ranges[i].end - ranges[i].begin));
  }
  return out;
}

TEST(Regex, HexDigitsAreNotBlanks) {
  EXPECT_EQ(Matches(R"(\h+)", "xyz 12fG"), "12f");
  EXPECT_EQ(Matches(R"([^\h]+)", "1xyz 2"), "xyz ");
  EXPECT_EQ(Matches(R"(\H+)", "1xyz 2"), "xyz ");
}

TEST(Regex, VerticalTabIsOneCharacter) {
  EXPECT_EQ(Matches(R"(a\vb|a\nb)", "a\nb a\vb"), "a\nb|a\vb");
}

TEST(Regex, IntervalsRepeat) {
  EXPECT_EQ(Matches(R"(\d{1,3}+)", "12345678 9"), "12345678|9");  // not possessive
  EXPECT_EQ(Matches("a{,2}b", "aaab"), "aab");
  EXPECT_EQ(Matches("xa{2}?", "xaaa x"), "xaa|x");  // optional, not lazy
  EXPECT_EQ(Matches("a++b|c", "aab c"), "aab|c");
  EXPECT_EQ(Matches("a{x", "a{x"), "a{x");
}

TEST(Regex, IsolatedOptionsReachOverAlternatives) {
  EXPECT_EQ(Matches("x|y(?i)a|b", "ya yA B b yB x"), "ya|yA|yB|x");
  EXPECT_EQ(Matches("(?m:a.b)", "a\nb"), "a\nb");
  EXPECT_EQ(Matches("(?x: a b # comment\n )c", "abc"), "abc");
}

TEST(Regex, ClassesNestAndIntersect) {
  EXPECT_EQ(Matches("[a-z&&[^aeiou]]+", "hello"), "h|ll");
  EXPECT_EQ(Matches("[0-9[x-z]]+", "a1xz2b"), "1xz2");
  EXPECT_EQ(Matches("[[:^alpha:]]+", "ab12 cd"), "12 ");
  EXPECT_EQ(Matches(R"([\w-]+)", "a-b c"), "a-b|c");
  EXPECT_EQ(Matches(R"([^\W\d]+)", "a1_é"), "a|_é");
  EXPECT_EQ(Matches("[]a]+", "x]a["), "]a");
}

TEST(Regex, PropertiesOfYoungCharacters) {
  EXPECT_EQ(Matches(R"(\p{Lu}+)", "\xF0\x90\xB5\x90 x"),
            "\xF0\x90\xB5\x90");  // U+10D50, Unicode 16
  EXPECT_EQ(Matches(R"(\p{^L}+|\P{^N}+)", "a1"), "1");
  EXPECT_EQ(Matches(R"(\p{Han}+)", "漢字。々"), "漢字|々");  // the script, not its extensions
}

TEST(Regex, AnchorsAndBoundaries) {
  EXPECT_EQ(Matches("^.|.$", "ab\ncd"), "a|b|c|d");
  EXPECT_EQ(Matches(R"(\b\w)", "ab cd"), "a|c");
  EXPECT_EQ(Matches("", "ab"), "||");
  EXPECT_EQ(Matches("a*", "baab"), "|aa|");
}

TEST(Regex, ErrorsNameTheConstruct) {
  EXPECT_EQ(Matches(R"(\p{Klingon})", ""), "error: unknown character property 'Klingon'");
  for (const char* pattern :
       {"(", ")", "[", "[a", "a)", "*", "(?~a)", R"(\p{L)", R"(\)", R"(\x)", "[b-a]", "(?<=a*)b",
        R"(\G)", "(?i", R"([\xff])", R"(\u12)", "a{99999}", R"(\k<no>)"}) {
    EXPECT_TRUE(Matches(pattern, "").starts_with("error: ")) << pattern;
  }
  EXPECT_TRUE(Matches(std::string(100000, '('), "").starts_with("error: "));
  EXPECT_TRUE(Matches(std::string(1000, '[') + "a", "").starts_with("error: "));
}

TEST(Regex, CostlyMatchingIsAnErrorNotAHang) {
  const std::string text = std::string(40, 'a') + "!";
  EXPECT_TRUE(Matches("(?:a|aa)+(?:a|aa)+(?:a|aa)+$", text).starts_with("error: "));
  EXPECT_TRUE(Matches(R"((a+)+(a+)+(a+)+\d)", text + text).starts_with("error: "));
}

TEST(Regex, LongTextIsLinear) {
  const std::string text(1 << 20, ' ');
  EXPECT_EQ(Matches(R"(\s+(?!\S)|\s+|\s*[\r\n]+)", text).size(), text.size());
}

}  // namespace
}  // namespace shardline
