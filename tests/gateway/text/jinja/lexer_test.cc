#include "gateway/text/jinja/lexer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace shardline::jinja {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Texts(std::string_view source) {
  std::vector<std::string> texts;
  for (const Token& token : Tokenize(source)) {
    if (token.type != TokenType::kEnd) texts.push_back(token.text);
  }
  return texts;
}

// The data that is left around tags.
std::vector<std::string> Data(std::string_view source) {
  std::vector<std::string> data;
  for (const Token& token : Tokenize(source)) {
    if (token.type == TokenType::kData) data.push_back(token.text);
  }
  return data;
}

std::string FailureOf(std::string_view source) {
  try {
    Tokenize(source);
  } catch (const Error& error) {
    return Cat(error.line, ": ", error.message);
  }
  return "";
}

TEST(Lexer, SplitsTags) {
  EXPECT_THAT(Texts("a{{ b.c[0] }}d"), ElementsAre("a", "", "b", ".", "c", "[", "0", "]", "", "d"));
  EXPECT_THAT(Texts("{{ {'a': {}} }}"), ElementsAre("", "{", "a", ":", "{", "}", "}", ""));
  EXPECT_THAT(Texts("{{ 1.5 // 2**3 }}"), ElementsAre("", "1.5", "//", "2", "**", "3", ""));
  EXPECT_THAT(Texts("{{ x.1.2 }}"), ElementsAre("", "x", ".", "1", ".", "2", ""));
}

TEST(Lexer, TrimsTheNewlineAfterABlockButNotAfterAnExpression) {
  EXPECT_THAT(Data("a\n{% x %}\nb{{ y }}\nc"), ElementsAre("a\n", "b", "\nc"));
  EXPECT_THAT(Data("a{# x #}\nb"), ElementsAre("a", "b"));
  EXPECT_THAT(Data("a{% x +%}\nb"), ElementsAre("a", "\nb"));
}

TEST(Lexer, StripsBlanksBeforeABlockOnItsLine) {
  EXPECT_THAT(Data("a\n  {% x %}b"), ElementsAre("a\n", "b"));
  EXPECT_THAT(Data("a  {% x %}b"), ElementsAre("a  ", "b"));
  EXPECT_THAT(Data("a\n  {%+ x %}b"), ElementsAre("a\n  ", "b"));
  EXPECT_THAT(Data("a\n  {{ x }}b"), ElementsAre("a\n  ", "b"));
}

TEST(Lexer, MinusTakesAllWhitespace) {
  EXPECT_THAT(Data("a \n\n {%- x -%} \n b"), ElementsAre("a", "b"));
  EXPECT_THAT(Data("a\u00a0\u2003{{- x -}}\u3000b"), ElementsAre("a", "b"));
}

TEST(Lexer, NormalizesNewlinesAndDropsTheLast) {
  EXPECT_THAT(Data("a\r\nb\rc\n"), ElementsAre("a\nb\nc"));
  EXPECT_THAT(Data("a\n\n"), ElementsAre("a\n"));
}

TEST(Lexer, RawTextStaysAsItIs) {
  EXPECT_THAT(Data("{% raw %}{{ x }} {% endraw %}b"), ElementsAre("{{ x }} ", "b"));
  EXPECT_THAT(Data("{% raw %}\na{%- endraw -%} b"), ElementsAre("\na", "b"));
}

TEST(Lexer, DecodesStringEscapes) {
  EXPECT_THAT(Texts(R"({{ 'a\n\x41\u00e9\101\'\d' }})"), ElementsAre("",
                                                                     "a\nAé"
                                                                     "A'\\d",
                                                                     ""));
  EXPECT_THAT(Texts(R"({{ "\N{GREEK SMALL LETTER ALPHA}" }})"), ElementsAre("", "α", ""));
}

TEST(Lexer, ErrorsNameTheirLine) {
  EXPECT_EQ(FailureOf("a\n\n{{ @ }}"), "3: unexpected char '@' at 6");
  EXPECT_EQ(FailureOf("{{ (1] }}"), "1: unexpected ']', expected ')'");
  EXPECT_EQ(FailureOf("\n{# a"), "2: Missing end of comment tag");
  EXPECT_EQ(FailureOf("{% raw %}a"), "1: Missing end of raw directive");
  EXPECT_EQ(FailureOf("{{ '\\x1' }}"), "1: truncated \\xXX escape");
}

}  // namespace
}  // namespace shardline::jinja
