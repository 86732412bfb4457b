// Ids and decoded texts equal to the reference library's, for every file in testdata
// (tools/make_tokenizer_fixtures.py) and for the default model where it is present.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "gateway/text/detokenizer.h"
#include "gateway/text/tokenizer/json_fields.h"
#include "gateway/text/tokenizer/tokenizer.h"
#include "gateway/text/utf8.h"

namespace shardline {
namespace {

const std::filesystem::path kData = SHARDLINE_SOURCE_DIR "/tests/gateway/text/tokenizer/testdata";
const std::filesystem::path kModel = SHARDLINE_SOURCE_DIR "/models/SmolLM2-135M-Instruct.Q4_1.gguf";

nlohmann::json Read(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return ParseJson(text.str(), path.string()).value();
}

std::vector<std::string> Fixtures() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kData)) {
    const std::string name = entry.path().filename().string();
    if (const size_t at = name.find(".expected.json"); at != std::string::npos)
      names.push_back(name.substr(0, at));
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<uint32_t> Encode(const Tokenizer& tokenizer, std::string_view text, bool special,
                             bool parse) {
  EncodeOptions options;
  options.add_special_tokens = special;
  options.parse_special_tokens = parse;
  const auto ids = tokenizer.Encode(text, options);
  EXPECT_TRUE(ids.ok()) << ids.status();
  return ids.ok() ? *ids : std::vector<uint32_t>();
}

std::string Decode(const Tokenizer& tokenizer, const std::vector<uint32_t>& ids) {
  std::string bytes;
  for (const uint32_t id : ids) {
    if (!tokenizer.IsSpecial(id)) bytes += tokenizer.Raw(id);
  }
  if (tokenizer.StripsFirstSpace() && bytes.starts_with(' ')) bytes.erase(0, 1);
  return ReplaceIllFormed(bytes);
}

// Every code point of the planes in use among letters, digits and spaces, as one number.
std::string Sweep(const Tokenizer& tokenizer) {
  uint64_t hash = 0xCBF29CE484222325;
  const auto add = [&hash](uint32_t value) { hash = (hash ^ value) * 0x100000001B3; };
  for (char32_t first = 0; first < 0xE0200; first += 64) {
    if (first == 0x33480) first = 0xE0000;
    std::string text;
    for (char32_t c = first; c < first + 64; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      text += 'a';
      AppendUtf8(text, c);
      text += "1 ";
      AppendUtf8(text, c);
      AppendUtf8(text, c);
    }
    for (const uint32_t id : Encode(tokenizer, text, false, true)) add(id);
    add(0xFFFFFFFF);
  }
  char hex[17];
  std::snprintf(hex, sizeof(hex), "%016llx", static_cast<unsigned long long>(hash));
  return hex;
}

class Fixture : public testing::TestWithParam<std::string> {};

TEST_P(Fixture, EqualsTheReference) {
  std::filesystem::path path = kData / (GetParam() + ".json");
  if (!std::filesystem::exists(path)) path = kData / (GetParam() + ".gguf");
  if (GetParam() == "smollm2") path = kModel;
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const auto loaded = LoadTokenizer(path.string());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Tokenizer& tokenizer = **loaded;
  const nlohmann::json corpus = Read(kData / "corpus.json");
  const nlohmann::json expected = Read(kData / (GetParam() + ".expected.json"));
  ASSERT_EQ(expected["ids"].size(), corpus.size());
  for (size_t i = 0; i < corpus.size(); ++i) {
    const std::string text = corpus[i];
    const nlohmann::json& row =
        expected["ids"][i];  // [with special tokens, without, unparsed]; null: as before
    const std::vector<uint32_t> special = row[0];
    const std::vector<uint32_t> plain =
        row[1].is_null() ? special : row[1].get<std::vector<uint32_t>>();
    const std::vector<uint32_t> unparsed =
        row[2].is_null() ? plain : row[2].get<std::vector<uint32_t>>();
    EXPECT_EQ(Encode(tokenizer, text, true, true), special) << nlohmann::json(text);
    EXPECT_EQ(Encode(tokenizer, text, false, true), plain) << nlohmann::json(text);
    EXPECT_EQ(Encode(tokenizer, text, false, false), unparsed) << nlohmann::json(text);
    const nlohmann::json& decoded = expected["decoded"][i];
    if (!decoded.is_null()) {
      EXPECT_EQ(Decode(tokenizer, plain), decoded.get<std::string>()) << nlohmann::json(text);
    }
  }
  EXPECT_EQ(Sweep(tokenizer), expected["sweep"]);
}

INSTANTIATE_TEST_SUITE_P(Files, Fixture, testing::ValuesIn(Fixtures()), [](const auto& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); },
      '_');
  return name;
});

TEST(Fixtures, AreThere) { EXPECT_GE(Fixtures().size(), 25u); }

}  // namespace
}  // namespace shardline
