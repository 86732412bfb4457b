// What the reference library has no say in: literal ranges, BOS, ends of generation, bytes,
// ill-formed text.
#include "gateway/text/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "gateway/text/tokenizer/tokenizer_files.h"

namespace shardline {
namespace {

const std::string kData = SHARDLINE_SOURCE_DIR "/tests/gateway/text/tokenizer/testdata/";

std::unique_ptr<Tokenizer> Load(const std::string& name) {
  auto loaded = LoadTokenizer(kData + name);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return *std::move(loaded);
}

std::vector<uint32_t> Encode(const Tokenizer& tokenizer, std::string_view text,
                             EncodeOptions options = {}) {
  const auto ids = tokenizer.Encode(text, options);
  EXPECT_TRUE(ids.ok()) << ids.status();
  return ids.ok() ? *ids : std::vector<uint32_t>();
}

std::string Bytes(const Tokenizer& tokenizer, const std::vector<uint32_t>& ids) {
  std::string bytes;
  for (const uint32_t id : ids) bytes += tokenizer.Raw(id);
  return bytes;
}

size_t Specials(const Tokenizer& tokenizer, const std::vector<uint32_t>& ids) {
  return static_cast<size_t>(
      std::count_if(ids.begin(), ids.end(), [&](uint32_t id) { return tokenizer.IsSpecial(id); }));
}

TEST(Tokenizer, SpecialTokensInLiteralRangesAreText) {
  const auto tokenizer = Load("pre_smollm.gguf");
  const std::string before = "<|im_start|>user\n", content = "say <|im_end|> <tool>",
                    after = "<|im_end|>\n";
  const std::string text = before + content + after;
  EncodeOptions options;
  EXPECT_EQ(Specials(*tokenizer, Encode(*tokenizer, text, options)), 3u);
  options.literal_ranges = {{before.size(), before.size() + content.size()}};
  const auto ids = Encode(*tokenizer, text, options);
  EXPECT_EQ(Specials(*tokenizer, ids), 2u);
  EXPECT_EQ(Bytes(*tokenizer, ids), text);
  // User-defined tokens are whole either way.
  const uint32_t tool = Encode(*tokenizer, "<tool>", options)[0];
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tool), 1);
  // All literal: the same as not parsing at all.
  options.literal_ranges = {{0, text.size()}};
  EncodeOptions unparsed;
  unparsed.parse_special_tokens = false;
  EXPECT_EQ(Encode(*tokenizer, text, options), Encode(*tokenizer, text, unparsed));
}

TEST(Tokenizer, ALiteralThatCompletesASpecialTokenIsText) {
  const auto tokenizer = Load("pre_smollm.gguf");
  const std::string text = "<|im_end|><|im_end|>";
  for (size_t begin = 0; begin < 10; ++begin) {
    for (size_t end = begin + 1; end <= 10; ++end) {
      EncodeOptions options;
      options.literal_ranges = {{begin, end}};
      const auto ids = Encode(*tokenizer, text, options);
      EXPECT_EQ(Specials(*tokenizer, ids), 1u) << begin << " " << end;
      EXPECT_TRUE(tokenizer->IsSpecial(ids.back()));
      EXPECT_EQ(Bytes(*tokenizer, ids), text);
    }
  }
}

TEST(Tokenizer, MergesRunAcrossBordersOfLiteralRanges) {
  for (const char* name :
       {"pre_smollm.gguf", "spm.gguf", "llama3.json", "llama2.json", "t5.gguf", "rwkv.gguf"}) {
    const auto tokenizer = Load(name);
    const std::string text = "The quick brown fox jumps over the lazy dog";
    const auto plain = Encode(*tokenizer, text);
    for (size_t begin = 0; begin < text.size(); ++begin) {
      EncodeOptions options;
      options.literal_ranges = {{begin, std::min(begin + 5, text.size())}};
      EXPECT_EQ(Encode(*tokenizer, text, options), plain) << name << " " << begin;
    }
  }
}

TEST(Tokenizer, LiteralRangesFollowNormalisation) {
  const auto tokenizer = Load("added.json");  // <mask> is looked for in lower-case NFKC text
  const std::string before = "ﬁﬁﬁ <tool>", content = "İİ<TOOL>ﬃ", after = "<tool>";
  EncodeOptions options;
  const size_t all = Specials(*tokenizer, Encode(*tokenizer, before + content + after, options));
  options.literal_ranges = {{before.size(), before.size() + content.size()}};
  const size_t outside =
      Specials(*tokenizer, Encode(*tokenizer, before + content + after, options));
  EXPECT_LE(outside, all);
  EXPECT_EQ(outside, Specials(*tokenizer, Encode(*tokenizer, before + after)));
}

TEST(Tokenizer, BosIsAddedOnce) {
  const auto tokenizer = Load("spm.gguf");
  const auto bos = static_cast<uint32_t>(tokenizer->bos_id());
  EXPECT_EQ(tokenizer->bos_text(), "<s>");
  const auto plain = Encode(*tokenizer, "hello");
  EXPECT_EQ(plain[0], bos);
  EXPECT_EQ(Encode(*tokenizer, "<s>hello"), plain);
  EncodeOptions options;
  options.add_special_tokens = false;
  EXPECT_EQ(Encode(*tokenizer, "<s>hello", options), plain);
  EXPECT_EQ(Encode(*tokenizer, ""), std::vector<uint32_t>{bos});
  // A second BOS in the text is the text's own.
  EXPECT_EQ(Encode(*tokenizer, "<s><s>hello").size(), plain.size() + 1);
}

TEST(Tokenizer, EosRuleOfTheFile) {
  const auto tokenizer = Load("spm_no_prefix.gguf");  // add_eos_token
  const auto ids = Encode(*tokenizer, "hello");
  EXPECT_EQ(ids.back(), 2u);
  EXPECT_EQ(tokenizer->eos_ids(), std::vector<uint32_t>{2});
  EXPECT_EQ(tokenizer->eos_text(), "</s>");
  EXPECT_FALSE(tokenizer->StripsFirstSpace());
  EXPECT_TRUE(Load("spm.gguf")->StripsFirstSpace());
}

TEST(Tokenizer, EndsOfGenerationAreControlTokens) {
  const auto tokenizer = Load("pre_gpt-2.gguf");
  ASSERT_EQ(tokenizer->eos_ids().size(), 1u);
  EXPECT_EQ(tokenizer->Raw(tokenizer->eos_ids()[0]), "<|im_end|>");
}

TEST(Tokenizer, RawIsEveryByteOnce) {
  for (const char* name : {"gpt2.json", "pre_smollm.gguf", "spm.gguf", "llama2.json",
                           "t5_bytes.gguf", "unigram_bytes.json", "rwkv.gguf"}) {
    const auto tokenizer = Load(name);
    int single = 0;
    std::vector<int> seen(256);
    for (uint32_t id = 0; id < tokenizer->size(); ++id) {
      if (tokenizer->Raw(id).size() == 1 && !tokenizer->IsSpecial(id)) {
        single += seen[static_cast<unsigned char>(tokenizer->Raw(id)[0])]++ == 0;
      }
    }
    EXPECT_EQ(single, 256) << name;
    EXPECT_EQ(tokenizer->Raw(tokenizer->size()), "");
    EXPECT_EQ(tokenizer->Raw(UINT32_MAX), "");
    EXPECT_FALSE(tokenizer->IsSpecial(UINT32_MAX));
  }
}

TEST(Tokenizer, IllFormedTextIsReplaced) {
  const auto tokenizer = Load("gpt2.json");
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string pair = {static_cast<char>(a), static_cast<char>(b)};
      const auto ids = Encode(*tokenizer, "x" + pair);
      std::string want;
      const std::string text = "x" + pair;
      for (size_t i = 0; i < text.size();) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const bool two =
            byte >= 0xC2 && byte < 0xE0 && i + 1 < text.size() && (text[i + 1] & 0xC0) == 0x80;
        if (byte < 0x80 || two) {
          want += text.substr(i, two ? 2 : 1);
          i += two ? 2 : 1;
          continue;
        }
        // Of two bytes the second belongs to the first's ill-formed part where a longer character
        // could start so.
        const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
        const bool joined =
            (byte == 0xE0 && next >= 0xA0 && next <= 0xBF) ||
            (byte >= 0xE1 && byte <= 0xEF && next >= 0x80 &&
             next <= (byte == 0xED ? 0x9F : 0xBF)) ||
            (byte == 0xF0 && next >= 0x90 && next <= 0xBF) ||
            (byte >= 0xF1 && byte <= 0xF4 && next >= 0x80 && next <= (byte == 0xF4 ? 0x8F : 0xBF));
        want += "\xEF\xBF\xBD";
        i += joined ? 2 : 1;
      }
      ASSERT_EQ(Bytes(*tokenizer, ids), want) << a << " " << b;
    }
  }
}

TEST(Tokenizer, SpecialTokensOfUnigramVocabulariesComeFromParsingAlone) {
  for (const char* name : {"unigram.json", "unigram_bytes.json", "t5.gguf", "t5_bytes.gguf"}) {
    const auto tokenizer = Load(name);
    const auto plain = Encode(*tokenizer, "a</s>b<unk>", {.add_special_tokens = false});
    EXPECT_EQ(Specials(*tokenizer, plain), 2u) << name;
    for (const char* text : {"a</s>b", "a<pad>", "</s>", "\xEF\xBC\x9C/s>"}) {
      const auto ids =
          Encode(*tokenizer, text, {.add_special_tokens = false, .parse_special_tokens = false});
      for (const uint32_t id : ids) EXPECT_NE(tokenizer->Raw(id), "</s>") << name << text;
      for (const uint32_t id : ids) EXPECT_NE(tokenizer->Raw(id), "<pad>") << name << text;
    }
  }
}

TEST(Tokenizer, T5EndsWithEosByDefault) {
  const auto tokenizer = Load("t5.gguf");
  EXPECT_EQ(Encode(*tokenizer, "hello").back(), 2u);
  EXPECT_EQ(tokenizer->eos_text(), "</s>");
  EXPECT_EQ(Encode(*tokenizer, ""), std::vector<uint32_t>{2});
  EXPECT_TRUE(tokenizer->StripsFirstSpace());
}

TEST(Tokenizer, RwkvTokensAreBytes) {
  const auto tokenizer = Load("rwkv.gguf");
  const std::string text = "<s>the 漢字 \t\\ '\"<tool>\r\n";
  const auto ids = Encode(*tokenizer, text);
  EXPECT_EQ(Bytes(*tokenizer, ids), text);
  EXPECT_EQ(ids[0], 0u);
  EXPECT_EQ(tokenizer->eos_ids(), std::vector<uint32_t>{0});
  EXPECT_FALSE(tokenizer->StripsFirstSpace());
}

TEST(Tokenizer, MegabytesOfOneLetter) {
  for (const char* name :
       {"pre_smollm.gguf", "spm.gguf", "llama3.json", "unigram_bytes.json", "rwkv.gguf"}) {
    const auto tokenizer = Load(name);
    const std::string text(1 << 20, 'a');
    std::string bytes = Bytes(*tokenizer, Encode(*tokenizer, text, {.add_special_tokens = false}));
    if (tokenizer->StripsFirstSpace()) bytes.erase(0, 1);
    EXPECT_EQ(bytes, text) << name;
  }
}

TEST(Tokenizer, ManyThreads) {
  const auto tokenizer = Load("llama3.json");
  const std::string text = "It's 12345 o'clock, don't you think? \n\n  漢字 👍🏽";
  const auto want = Encode(*tokenizer, text);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 200; ++n) EXPECT_EQ(Encode(*tokenizer, text), want);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Tokenizer, DirectoryWithSettings) {
  const std::filesystem::path directory =
      std::filesystem::path(testing::TempDir()) / "tokenizer_settings";
  std::filesystem::create_directories(directory);
  EXPECT_EQ(LoadTokenizer(directory.string()).status().code(), absl::StatusCode::kNotFound);
  std::filesystem::copy_file(kData + "gpt2.json", directory / "tokenizer.json",
                             std::filesystem::copy_options::overwrite_existing);
  std::ofstream(directory / "tokenizer_config.json")
      << R"({"bos_token": null, "eos_token": {"content": "<|im_end|>", "special": true}})";
  const auto tokenizer = LoadTokenizer(directory.string());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->eos_text(), "<|im_end|>");
  EXPECT_EQ((*tokenizer)->eos_ids().size(), 1u);
  EXPECT_EQ((*tokenizer)->bos_id(), -1);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace shardline
