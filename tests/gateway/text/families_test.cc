// Each model family's tokenizer and template, from files with its publisher's settings
// (tools/make_family_fixtures.py): ids with and without special tokens, a BOS that is never
// doubled, what ends a generation, and chats, equal to what the reference libraries make of the
// same files.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "gateway/model_text.h"
#include "gateway/prompt.h"

namespace shardline {
namespace {

const std::string kData = SHARDLINE_SOURCE_DIR "/tests/gateway/text/testdata/families/";
using Ids = std::vector<uint32_t>;

const Json& Expected() {
  static const Json json = [] {
    std::ifstream file(kData + "expected.json");
    std::stringstream text;
    text << file.rdbuf();
    return ParseJsonObject(text.str()).value();
  }();
  return json;
}

std::vector<std::pair<std::string, std::string>> Sources() {
  std::vector<std::pair<std::string, std::string>> sources;
  for (const Json& row : Expected()["families"]) {
    for (const char* source : {"directory", "gguf"}) {
      if (row.contains(source)) sources.emplace_back(row["family"], source);
    }
  }
  return sources;
}

v1::ChatPrompt Chat(const Json& conversation) {
  v1::ChatPrompt chat;
  for (const Json& turn : conversation["messages"]) {
    v1::ChatMessage* message = chat.add_messages();
    message->set_role(turn["role"]);
    message->set_content(turn["content"]);
  }
  Json arguments = conversation;
  arguments.erase("messages");
  chat.set_template_arguments_json(arguments.dump());
  return chat;
}

// The day on which the fixtures were rendered, in whatever zone the test runs.
std::chrono::system_clock::time_point Day() {
  std::tm time{};
  time.tm_year = 126;
  time.tm_mon = 10;
  time.tm_mday = 26;
  time.tm_hour = 12;
  time.tm_isdst = -1;
  return std::chrono::system_clock::from_time_t(std::mktime(&time));
}

class Family : public testing::TestWithParam<std::pair<std::string, std::string>> {
 protected:
  void SetUp() override {
    const auto& [family, source] = GetParam();
    const auto& rows = Expected()["families"];
    row_ = *std::find_if(rows.begin(), rows.end(),
                         [&](const Json& row) { return row["family"] == family; });
    expected_ = row_[source];
    auto text = LoadModelText(kData + family + (source == "gguf" ? ".gguf" : ""));
    ASSERT_TRUE(text.ok()) << text.status();
    text_ = *std::move(text);
    ASSERT_NE(text_.tokenizer, nullptr);
    EXPECT_EQ(text_.warnings, std::vector<std::string>());
  }
  Ids Encode(const std::string& text, bool special) const {
    const auto ids = EncodeText(text_, text, {.add = special, .parse = true});
    EXPECT_TRUE(ids.ok()) << ids.status();
    return ids.ok() ? *ids : Ids();
  }

  Json row_, expected_;
  ModelText text_;
};

TEST_P(Family, TextsBecomeTheReferencesIds) {
  for (const Json& row : expected_["texts"]) {  // [text, ids, ids with special tokens or null]
    const std::string text = row[0];
    EXPECT_EQ(Encode(text, false), row[1].get<Ids>()) << row[0];
    EXPECT_EQ(Encode(text, true), row[row[2].is_null() ? 1 : 2].get<Ids>()) << row[0];
  }
}

TEST_P(Family, ABosIsNotDoubled) {
  const Ids with = Encode("Hello", true), without = Encode("Hello", false);
  ASSERT_GE(with.size(), without.size());
  std::string lead;  // BOS, or what the family has in its place
  for (size_t i = 0; i < with.size() - without.size(); ++i) lead += text_.tokenizer->Raw(with[i]);
  EXPECT_EQ(Encode(lead + "Hello", true), Encode(lead + "Hello", false));
}

TEST_P(Family, WhatEndsAGeneration) {
  const Ids& ids = text_.eos_ids;
  EXPECT_EQ(std::set<uint32_t>(ids.begin(), ids.end()),
            expected_["ends"].get<std::set<uint32_t>>());
  EXPECT_EQ(std::set<uint32_t>(ids.begin(), ids.end()).size(), ids.size());
}

TEST_P(Family, ChatsAreRenderedAndEncoded) {
  EXPECT_EQ(text_.chat_template.ok(), !expected_["chats"].empty());
  for (const Json& row : expected_["chats"]) {  // [conversation, rendering or null, ids]
    const std::string name = row[0];
    const auto rendered =
        RenderPrompt(text_, Chat(Expected()["conversations"][name]), false, Day());
    if (row[1].is_null()) {
      EXPECT_FALSE(rendered.ok()) << name << ": " << rendered->text;
      continue;
    }
    ASSERT_TRUE(rendered.ok()) << name << ": " << rendered.status();
    EXPECT_EQ(rendered->text, row[1].get<std::string>()) << name;
    const auto ids = EncodeChat(text_, *rendered, {.add = false, .parse = true});
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, row[2].get<Ids>()) << name;
    // Asked for, a BOS is not put before the template's own.
    const auto with = EncodeChat(text_, *rendered, {.add = true, .parse = true});
    ASSERT_TRUE(with.ok()) << with.status();
    const auto bos = static_cast<uint32_t>(std::max<int64_t>(text_.tokenizer->bos_id(), 0));
    EXPECT_FALSE(with->size() > 1 && text_.tokenizer->bos_id() >= 0 && (*with)[0] == bos &&
                 (*with)[1] == bos)
        << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Published, Family, testing::ValuesIn(Sources()), [](const auto& info) {
  return info.param.first + "_" + info.param.second;
});

TEST(Families, AreAllThere) {
  EXPECT_GE(Expected()["families"].size(), 36u);
  EXPECT_GE(Sources().size(), 64u);
}

}  // namespace
}  // namespace shardline
