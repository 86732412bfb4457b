// Which names of pre-tokenizers GGUF files may use; what they do is in fixtures_test.cc.
#include "gateway/text/tokenizer/pre_patterns.h"

#include <gtest/gtest.h>

#include <string>

namespace shardline {
namespace {

// The words that `text` is cut into, in the byte alphabet.
std::vector<std::string> Words(std::string_view name, const std::string& text) {
  auto named = GgufPreTokenizerNamed(name);
  EXPECT_TRUE(named.ok()) << named.status();
  if (!named.ok()) return {};
  std::vector<Piece> pieces(1);
  pieces[0].text = text;
  Arena arena;
  const absl::Status applied = named->pre_tokenizer->Apply(pieces, arena);
  EXPECT_TRUE(applied.ok()) << applied;
  std::vector<std::string> words;
  for (const Piece& piece : pieces) words.emplace_back(piece.text);
  return words;
}

using Cut = std::vector<std::string>;

TEST(PrePatterns, NamesThatMeanTheSame) {
  const std::string text = "It's HERE'S x1234567 ab\n\n  c!?\t日本 «é»";
  const std::vector<std::vector<std::string_view>> groups = {
      {"gpt-2", "phi-2", "mpt", "olmo", "modern-bert", "jais", "trillion", "exaone4",
       "granite-docling"},
      {"starcoder", "refact", "smollm", "codeshell", "command-r", "minerva-7b"},
      {"llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "dbrx", "smaug-bpe", "chatglm-bpe",
       "glm4"},
      {"qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan"},
      {"gpt-4o", "llama4"},
      {"default", ""},
      {"falcon"},
      {"tekken"},
      {"deepseek-llm"},
      {"deepseek-coder"},
      {"deepseek-v3"},
  };
  for (const auto& group : groups) {
    const Cut first = Words(group[0], text);
    for (const std::string_view name : group) EXPECT_EQ(Words(name, text), first) << name;
  }
}

TEST(PrePatterns, MergesAndBos) {
  for (const char* name : {"llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "tekken"}) {
    const auto named = GgufPreTokenizerNamed(name);
    ASSERT_TRUE(named.ok());
    EXPECT_TRUE(named->ignore_merges && named->add_bos) << name;
  }
  const auto glm4 = GgufPreTokenizerNamed("glm4");
  ASSERT_TRUE(glm4.ok());
  EXPECT_TRUE(glm4->ignore_merges && !glm4->add_bos);
  for (const char* name : {"dbrx", "smaug-bpe", "chatglm-bpe", "qwen2", "gpt-2", "falcon"}) {
    const auto named = GgufPreTokenizerNamed(name);
    ASSERT_TRUE(named.ok());
    EXPECT_FALSE(named->ignore_merges || named->add_bos) << name;
  }
}

TEST(PrePatterns, Digits) {
  EXPECT_EQ(Words("gpt-2", "1234567"), (Cut{"1234567"}));
  EXPECT_EQ(Words("starcoder", "123"), (Cut{"1", "2", "3"}));
  EXPECT_EQ(Words("llama3", "1234567"), (Cut{"123", "456", "7"}));
  EXPECT_EQ(Words("qwen2", "123"), (Cut{"1", "2", "3"}));
  EXPECT_EQ(Words("tekken", "123"), (Cut{"1", "2", "3"}));
  EXPECT_EQ(Words("gpt-4o", "1234"), (Cut{"123", "4"}));
  EXPECT_EQ(Words("falcon", "1234567"), (Cut{"123", "456", "7"}));
  EXPECT_EQ(Words("deepseek-llm", "1234"), (Cut{"1234"}));
  EXPECT_EQ(Words("deepseek-coder", "12"), (Cut{"1", "2"}));
  EXPECT_EQ(Words("deepseek-v3", "1234"), (Cut{"123", "4"}));
  EXPECT_EQ(Words("kimi-k2", "1234"), (Cut{"123", "4"}));
  for (const char* name : {"seed-coder", "youtu", "viking"}) {
    EXPECT_EQ(Words(name, "123"), (Cut{"1", "2", "3"})) << name;
  }
  EXPECT_EQ(Words("superbpe", "a 1234567 b"), (Cut{"aĠ", "1", "234", "567", "Ġb"}));
}

TEST(PrePatterns, ChineseBesideLetters) {
  EXPECT_EQ(Words("gpt-4o", "ab中文cd").size(), 1);
  EXPECT_EQ(Words("kimi-k2", "ab中文cd").size(), 3);
  EXPECT_EQ(Words("youtu", "ab中文cd").size(), 3);
}

TEST(PrePatterns, Punctuation) {
  EXPECT_EQ(Words("qwen2", "a;\n\nb"), (Cut{"a", ";ĊĊ", "b"}));
  EXPECT_EQ(Words("seed-coder", "a;\n\nb"), (Cut{"a", ";", "ĊĊ", "b"}));
  EXPECT_EQ(Words("viking", "it's (so), yes"), (Cut{"it's", "Ġ(", "so", "),", "Ġyes"}));
}

TEST(PrePatterns, Contractions) {
  EXPECT_EQ(Words("gpt-2", "it's IT'S"), (Cut{"it", "'s", "ĠIT", "'", "S"}));
  EXPECT_EQ(Words("llama3", "it's IT'S"), (Cut{"it", "'s", "ĠIT", "'S"}));
  EXPECT_EQ(Words("gpt-4o", "it's aB"), (Cut{"it's", "Ġa", "B"}));
  EXPECT_EQ(Words("tekken", "it's"), (Cut{"it", "'s"}));
}

TEST(PrePatterns, AnUnknownNameIsNamed) {
  const auto named = GgufPreTokenizerNamed("no-such");
  EXPECT_EQ(named.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(Message(named.status()).find("'no-such'"), std::string::npos);
}

}  // namespace
}  // namespace shardline
