// Vocabularies without a tokenizer.json: SentencePiece's files have the ids of the GGUF files with
// the same vocabulary, which are the reference's; settings beside them; and files that lie.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "gateway/text/tokenizer/json_fields.h"
#include "gateway/text/tokenizer/tokenizer.h"
#include "shared/base/file.h"
#include "tests/gateway/text/tokenizer/model_file_bytes.h"

namespace shardline {
namespace {

const std::string kData = SHARDLINE_SOURCE_DIR "/tests/gateway/text/tokenizer/testdata/";
using Ids = std::vector<uint32_t>;

class Directory {
 public:
  Directory() : path_(testing::TempDir() + "vocabulary-XXXXXX") {
    EXPECT_NE(mkdtemp(path_.data()), nullptr);
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  const Directory& Write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << text;
    return *this;
  }
  absl::StatusOr<std::unique_ptr<Tokenizer>> Load() const { return TokenizerFromDirectory(path_); }
  std::string Error() const {
    const auto loaded = Load();
    if (loaded.ok()) return "";
    EXPECT_EQ(Message(loaded.status()).find('\n'), std::string::npos);
    return Message(loaded.status());
  }

 private:
  std::string path_;
};

Ids Encode(const Tokenizer& tokenizer, std::string_view text, bool special, bool parse = true) {
  const auto ids = tokenizer.Encode(
      text, {.add_special_tokens = special, .parse_special_tokens = parse, .literal_ranges = {}});
  EXPECT_TRUE(ids.ok()) << ids.status();
  return ids.ok() ? *ids : Ids();
}

nlohmann::json Read(const std::string& name) {
  return ParseJson(ReadWholeFile(kData + name, size_t{1} << 20).value(), name).value();
}

// The vocabulary of a GGUF file as SentencePiece writes it.
std::string ModelOf(const std::string& name, bool bpe) {
  const auto file = *GgufFile::Open(kData + name + ".gguf");
  const auto key = [](const char* end) { return std::string("tokenizer.ggml.") + end; };
  const GgufArray& tokens = *file->Array(key("tokens"));
  const GgufArray& types = *file->Array(key("token_type"));
  const GgufArray& scores = *file->Array(key("scores"));
  ModelFileBytes out;
  for (size_t i = 0; i < tokens.strings.size(); ++i) {
    out.Piece(tokens.strings[i], static_cast<float>(scores.floats[i]),
              static_cast<uint64_t>(types.ints[i]));
  }
  std::string map;
  if (const GgufArray* bytes = file->Array(key("precompiled_charsmap"))) {
    map.assign(bytes->uints.begin(), bytes->uints.end());
    if (map.empty()) map.assign(bytes->ints.begin(), bytes->ints.end());
  }
  const bool prefix = file->Bool(key("add_space_prefix")).value_or(true);
  const bool trim = file->Bool(key("remove_extra_whitespaces")).value_or(!bpe);
  return out.Trainer(bpe ? 2 : 1).Normalizer(prefix, trim, map).bytes();
}

TEST(ModelFile, HasTheIdsOfTheGgufFile) {
  const nlohmann::json corpus = Read("corpus.json");
  for (const std::string name : {"t5", "t5_bytes", "t5_spaces", "spm", "spm_no_prefix"}) {
    const bool bpe = name.starts_with("spm");
    const Directory directory;
    const auto loaded = directory.Write("spiece.model", ModelOf(name, bpe)).Load();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    const nlohmann::json expected = Read(name + ".expected.json")["ids"];
    ASSERT_EQ(expected.size(), corpus.size());
    for (size_t i = 0; i < corpus.size(); ++i) {
      const std::string text = corpus[i];
      const nlohmann::json& row = expected[i];  // [with special tokens, without, unparsed]
      const Ids plain = row[row[1].is_null() ? 0 : 1];
      EXPECT_EQ(Encode(**loaded, text, false), plain) << name << ": " << corpus[i];
      EXPECT_EQ(Encode(**loaded, text, false, false), row[2].is_null() ? plain : row[2].get<Ids>())
          << name << ": " << corpus[i];
    }
  }
}

ModelFileBytes Small() {
  return ModelFileBytes()
      .Piece("<unk>", 0, 2)
      .Piece("<s>", 0, 3)
      .Piece("</s>", 0, 3)
      .Piece("a", -1, 1)
      .Piece("b", -2, 1)
      .Piece("ab", -0.5, 1);
}
std::string Bpe() { return Small().Trainer(2).Normalizer(false, false, "").bytes(); }

TEST(ModelFile, SettingsBesideIt) {
  Directory directory;
  directory.Write("tokenizer.model", Bpe());
  auto loaded = directory.Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(Encode(**loaded, "ab", true), (Ids{1, 5}));  // Llama's rule where nothing is said
  EXPECT_EQ((*loaded)->eos_ids(), (Ids{2}));
  directory.Write("tokenizer_config.json", R"({"tokenizer_class": "XTokenizer"})");
  EXPECT_EQ(Encode(**directory.Load(), "ab", true), (Ids{5}));
  directory.Write("added_tokens.json", R"({"<|end|>": 6})");
  directory.Write("tokenizer_config.json",
                  R"({"tokenizer_class": "LlamaTokenizerFast", "add_eos_token": true,
                      "eos_token": {"content": "<|x|>"}, "added_tokens_decoder": {
                        "7": {"content": "<|x|>", "special": true, "rstrip": true}}})");
  loaded = directory.Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->size(), 8u);
  EXPECT_EQ(Encode(**loaded, "ab<|x|> \n b<|end|>", true), (Ids{1, 5, 7, 4, 6, 7}));
  EXPECT_EQ((*loaded)->eos_ids(), (Ids{7}));
  EXPECT_TRUE((*loaded)->IsSpecial(7));
  EXPECT_FALSE((*loaded)->IsSpecial(6));
}

TEST(ModelFile, SettingsThatLieAreNamed) {
  Directory directory;
  directory.Write("tokenizer.model", Bpe());
  const auto error = [&](const char* file, const char* text) {
    return directory.Write(file, text).Error();
  };
  for (const auto& [text, part] : std::vector<std::pair<const char*, const char*>>{
           {"{", "tokenizer_config.json: not valid JSON"},
           {R"({"add_bos_token": 1})", "tokenizer_config.json: add_bos_token must be"},
           {R"({"eos_token": 3})", "eos_token.content must be a string"},
           {R"({"added_tokens_decoder": []})", "added_tokens_decoder must be an object"},
           {R"({"added_tokens_decoder": {"x": {"content": "y"}}})", "'x' is not the id"},
           {R"({"added_tokens_decoder": {"-1": {"content": "y"}}})", "'-1' is not the id"},
           {R"({"added_tokens_decoder": {"99999999": {"content": "y"}}})", "is not the id"},
           {R"({"added_tokens_decoder": {"7": {}}})", "'7'.content must be a string"},
           {R"({"tokenizer_class": "ChatGLM4Tokenizer"})", "needs a token [gMASK]"}}) {
    EXPECT_NE(error("tokenizer_config.json", text).find(part), std::string::npos)
        << error("tokenizer_config.json", text);
  }
  directory.Write("tokenizer_config.json", "{}");
  EXPECT_NE(error("added_tokens.json", R"({"x": -1})").find("added_tokens.json: 'x' must have"),
            std::string::npos);
}

TEST(ModelFile, FilesThatLieAreNamed) {
  const auto error = [](const std::string& bytes) {
    return Directory().Write("tokenizer.model", bytes).Error();
  };
  EXPECT_EQ(error(Bpe()), "");
  for (const auto& [bytes, part] : std::vector<std::pair<std::string, const char*>>{
           {"", "tokenizer.model: "},
           {"\n", "is not a SentencePiece model"},
           {Small().Trainer(3).bytes(), "model_type 3 is not supported"},
           {Small().Piece("a", 0, 1).bytes(), "pieces[6] is the same as [3]: 'a'"},
           {Small().Piece("\xFF", 0, 1).bytes(), "pieces[6]: is not UTF-8"},
           {Small().Piece("", 0, 1).bytes(), "pieces[6]: is not UTF-8"},
           {Small().Piece("c", NAN, 1).bytes(), "pieces[6]: has a score that is no number"},
           {Small().Piece("c", 0, 9).bytes(), "pieces[6]: has type 9"},
           {Small().Bytes(1, ModelFileBytes().Number(1, 3).bytes()).bytes(),
            "pieces[6]: piece has another type"},
           {Small().Number(2, 3).bytes(), "field 2 has another type"},
           {Small().Normalizer(true, true, "abc").bytes(), "precompiled_charsmap"},
           {ModelFileBytes().Piece("a", 0, 1).bytes(), "has no piece '<unk>'"},
           {"nonsense", "is neither"}}) {
    EXPECT_NE(error(bytes).find(part), std::string::npos) << error(bytes) << " lacks " << part;
  }
  // Every cut and every byte changed: an error of one line, or a vocabulary.
  const std::string valid = Bpe();
  for (size_t i = 0; i < valid.size(); ++i) {
    error(valid.substr(0, i));
    std::string changed = valid;
    changed[i] = static_cast<char>(changed[i] ^ (1 << (i % 8)));
    error(changed);
  }
}

TEST(TiktokenFile, LinesThatLieAreNamed) {
  Directory directory;
  directory.Write("tokenizer_config.json",
                  R"({"tokenizer_class": "ChatGLM4Tokenizer", "added_tokens_decoder": {
                      "3": {"content": "[gMASK]", "special": true},
                      "4": {"content": "<sop>", "special": true}}})");
  directory.Write("tokenizer.model", "YQ== 0\nYg== 1\nYWI= 2\n");
  const auto loaded = directory.Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(Encode(**loaded, "abba", true), (Ids{3, 4, 2, 1, 0}));
  for (const char* lines :
       {"YQ== 0\nYg== x\n", "YQ== 0\n!! 1\n", "YQ== 0\nYg==\n", "YQ== 0\n 1\n", "YQ== 0\nYg== -1\n",
        "YQ== 0\nYg== 4194304\n", "YQ== 0\nYQ== 1\n", "YQ== 0\nYg== 0\n"}) {
    EXPECT_NE(directory.Write("tokenizer.model", lines).Error().find("tokenizer.model: line 2"),
              std::string::npos)
        << lines << directory.Error();
  }
}

}  // namespace
}  // namespace shardline
