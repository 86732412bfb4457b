// Broken and hostile vocabulary files: one line that names the field, never a crash or a hang.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "gateway/text/tokenizer/json_fields.h"
#include "gateway/text/tokenizer/tokenizer_files.h"

namespace shardline {
namespace {

const std::string kData = SHARDLINE_SOURCE_DIR "/tests/gateway/text/tokenizer/testdata/";

std::string ReadText(const std::string& name) {
  std::ifstream file(kData + name, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

nlohmann::json Read(const std::string& name) { return ParseJson(ReadText(name), name).value(); }

nlohmann::json Valid() { return Read("llama3.json"); }

// The error of a file, or "" when it loads.
std::string ErrorOf(const std::string& text) {
  const auto loaded = TokenizerFromJson(text);
  if (loaded.ok()) return "";
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(loaded.status()).find('\n'), std::string::npos);
  return Message(loaded.status());
}

void ExpectError(const nlohmann::json& json, std::string_view part) {
  EXPECT_NE(ErrorOf(json.dump()).find(part), std::string::npos)
      << ErrorOf(json.dump()) << " lacks " << part;
}

TEST(HostileJson, TheValidFileLoads) { EXPECT_EQ(ErrorOf(Valid().dump()), ""); }

TEST(HostileJson, NotJson) {
  for (const char* text :
       {"", "{", "null", "[]", "1", "\"x\"", "{\"model\":}", "\xFF\xFE", "{} {}", "nul"}) {
    EXPECT_NE(ErrorOf(text), "") << text;
  }
  EXPECT_NE(ErrorOf(std::string(100000, '[')), "");
  EXPECT_NE(ErrorOf(std::string(100000, '[') + std::string(100000, ']')), "");
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"normalizer\":";
  EXPECT_NE(ErrorOf(deep), "");
  EXPECT_NE(ErrorOf("{\"x\": \"\\ud800\"}"), "");
}

TEST(HostileJson, FieldsAreNamed) {
  const auto with = [](const char* pointer, nlohmann::json value) {
    nlohmann::json json = Valid();
    json[nlohmann::json::json_pointer(pointer)] = std::move(value);
    return json;
  };
  ExpectError(with("/model", nullptr), "model");
  ExpectError(with("/model/type", "Unigram"), "model.vocab");
  ExpectError(with("/model/type", "WordLevel"), "WordLevel");
  ExpectError(with("/model/type", "WordPiece"), "WordPiece");
  ExpectError(with("/model/dropout", 0.1), "model.dropout");
  ExpectError(with("/model/vocab", 3), "model.vocab");
  ExpectError(with("/model/vocab/a", -1), "model.vocab");
  ExpectError(with("/model/vocab/a", 1.5), "model.vocab");
  ExpectError(with("/model/vocab/a", "x"), "model.vocab");
  ExpectError(with("/model/vocab/a", 1u << 31), "model.vocab");
  ExpectError(with("/model/vocab/a", 1ull << 40), "model.vocab");
  ExpectError(with("/model/vocab/b", 0), "model.vocab");
  ExpectError(with("/model/merges", 1), "model.merges");
  ExpectError(with("/model/merges/0", "nospace"), "model.merges[0]");
  ExpectError(with("/model/merges/3", nlohmann::json::array({"a"})), "model.merges[3]");
  ExpectError(with("/model/merges/3", nlohmann::json::array({"a", "nosuchtoken"})), "nosuchtoken");
  ExpectError(with("/model/ignore_merges", "yes"), "model.ignore_merges");
  ExpectError(with("/model/unk_token", 3), "model.unk_token");
  ExpectError(with("/added_tokens", 3), "added_tokens");
  ExpectError(with("/added_tokens/0/content", 3), "added_tokens[0].content");
  ExpectError(with("/added_tokens/0/special", 3), "added_tokens[0].special");
  ExpectError(with("/added_tokens/0/id", -3), "added_tokens[0].id");
  ExpectError(with("/normalizer", {{"type", "Precompiled"}}), "precompiled_charsmap");
  for (const char* map : {"", "!", "AAAA", "/////////w=="}) {
    ExpectError(with("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", map}}),
                "precompiled_charsmap");
  }
  ExpectError(with("/normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "Nope"}}}}}),
              "normalizers[0]");
  ExpectError(
      with("/normalizer", {{"type", "Replace"}, {"content", ""}, {"pattern", {{"Regex", "("}}}}),
      "pattern");
  ExpectError(with("/normalizer", nlohmann::json::array()), "normalizer");
  ExpectError(with("/pre_tokenizer", {{"type", "Nope"}}), "Nope");
  ExpectError(with("/pre_tokenizer", 7), "pre_tokenizer");
  ExpectError(with("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", R"(\p{Q})"}}}}),
              "pattern");
  ExpectError(with("/pre_tokenizer", {{"type", "FixedLength"}, {"length", 0}}), "length");
  ExpectError(with("/post_processor", {{"type", "Nope"}}), "Nope");
  ExpectError(with("/post_processor/processors/1/single/0", 1), "single[0]");
  ExpectError(with("/post_processor/processors/1/special_tokens", nlohmann::json::object()),
              "special_tokens");
  ExpectError(with("/post_processor/processors/1/special_tokens/<s>/ids", {1u << 30}), "no token");
  ExpectError(with("/decoder", {{"type", "CTC"}}), "CTC");
  ExpectError(with("/version", "2.0"), "version");
}

TEST(HostileJson, UnigramFieldsAreNamed) {
  const auto with = [](const char* pointer, nlohmann::json value) {
    nlohmann::json json = Read("unigram.json");
    json[nlohmann::json::json_pointer(pointer)] = std::move(value);
    return json;
  };
  EXPECT_EQ(ErrorOf(with("/version", "1.0").dump()), "");
  ExpectError(with("/model/vocab", nlohmann::json::object()), "model.vocab");
  ExpectError(with("/model/vocab/5", 1), "model.vocab[5]");
  ExpectError(with("/model/vocab/5", {"a"}), "model.vocab[5]");
  ExpectError(with("/model/vocab/5", {"a", "b"}), "model.vocab[5]");
  ExpectError(with("/model/unk_id", -1), "model.unk_id");
  ExpectError(with("/model/unk_id", 1u << 20), "model.unk_id");
  ExpectError(with("/model/byte_fallback", 1), "model.byte_fallback");
}

// Every value of the file replaced by values of other types: an error or a tokenizer that works.
void ReplaceEveryField(const nlohmann::json& json) {
  std::vector<std::string> pointers;
  const nlohmann::json flat = json.flatten();
  for (const auto& [pointer, value] : flat.items()) {
    if (pointer.starts_with("/model/vocab/") || pointer.starts_with("/model/merges/")) continue;
    for (size_t at = pointer.size(); at != 0 && at != std::string::npos;
         at = pointer.rfind('/', at - 1)) {
      pointers.push_back(pointer.substr(0, at));
    }
  }
  std::sort(pointers.begin(), pointers.end());
  pointers.erase(std::unique(pointers.begin(), pointers.end()), pointers.end());
  ASSERT_GT(pointers.size(), 30u);
  const std::vector<nlohmann::json> values = {nullptr,
                                              true,
                                              -1,
                                              1.5,
                                              "",
                                              "x",
                                              nlohmann::json::array(),
                                              nlohmann::json::object(),
                                              1ull << 63,
                                              {{"type", "Sequence"}}};
  for (const std::string& pointer : pointers) {
    for (const nlohmann::json& value : values) {
      nlohmann::json changed = json;
      changed[nlohmann::json::json_pointer(pointer)] = value;
      const auto loaded = TokenizerFromJson(changed.dump());
      if (loaded.ok()) {
        (void)(*loaded)->Encode("Hello <s> 123\n", {});
      }
    }
  }
}

TEST(HostileJson, EveryFieldOfEveryType) {
  ReplaceEveryField(Valid());
  ReplaceEveryField(Read("unigram.json"));
}

TEST(HostileJson, DamagedText) {
  const std::string files[] = {ReadText("added.json"), ReadText("unigram.json"),
                               ReadText("unigram_bytes.json")};
  std::mt19937 random(3);
  for (int round = 0; round < 900; ++round) {
    std::string text = files[round % 3];
    for (int n = 1 + static_cast<int>(random() % 3); n > 0; --n) {
      const size_t at = random() % text.size();
      if (random() % 2 == 0) {
        text[at] = static_cast<char>(random());
      } else {
        text.erase(at, random() % 20);
      }
    }
    const auto loaded = TokenizerFromJson(text);
    if (loaded.ok()) (void)(*loaded)->Encode("Hello <tool> the 123\n", {});
  }
}

TEST(HostileJson, PathologicalPatternsEndWithAnError) {
  nlohmann::json json = Valid();
  json["pre_tokenizer"] = {{"type", "Split"},
                           {"pattern", {{"Regex", R"((a+)+(a+)+(a+)+\d)"}}},
                           {"behavior", "Isolated"},
                           {"invert", false}};
  const auto loaded = TokenizerFromJson(json.dump());
  ASSERT_TRUE(loaded.ok());
  const auto ids = (*loaded)->Encode(std::string(200, 'a'), {});
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(HostileJson, NothingMultipliesWithoutMeasure) {
  using Json = nlohmann::json;
  const auto with = [](const char* name, Json part) {
    Json json = Valid();
    json[name] = std::move(part);
    return json;
  };
  const auto sequence = [](const char* member, const Json& part, size_t count) {
    return Json{{"type", "Sequence"}, {member, std::vector<Json>(count, part)}};
  };
  const Json doubling = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  const Json twice = {{"type", "TemplateProcessing"},
                      {"single", std::vector<Json>(2, {{"Sequence", {{"id", "A"}}}})}};
  ExpectError(with("normalizer", sequence("normalizers", doubling, 65)), "more than 64");
  ExpectError(with("decoder", sequence("decoders", doubling, 60)), "decoder: token");
  ExpectError(with("post_processor", sequence("processors", twice, 60)), "post_processor");
  EXPECT_EQ(ErrorOf(with("post_processor", twice).dump()), "");

  const auto loaded =
      TokenizerFromJson(with("normalizer", sequence("normalizers", doubling, 60)).dump());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->get()->Encode("a", {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(HostileJson, LargePatternsAreRefusedSoon) {
  const auto error = [](const std::string& pattern) {
    nlohmann::json json = Valid();
    json["pre_tokenizer"] = {{"type", "Split"},
                             {"pattern", {{"Regex", pattern}}},
                             {"behavior", "Isolated"},
                             {"invert", false}};
    return ErrorOf(json.dump());
  };
  std::string borders, quantifiers = "a";
  for (int i = 0; i < 30000; ++i) {
    borders += "\\b";
    quantifiers += "?+";
  }
  EXPECT_NE(error(borders).find("too large"), std::string::npos) << error(borders).substr(0, 200);
  EXPECT_NE(error(quantifiers).find("quantifiers"), std::string::npos);
}

TEST(HostileGguf, DamagedFiles) {
  std::mt19937 random(5);
  for (const char* name :
       {"pre_smollm.gguf", "spm.gguf", "t5.gguf", "t5_bytes.gguf", "rwkv.gguf"}) {
    const std::string valid = ReadText(name);
    for (int round = 0; round < 400; ++round) {
      std::string bytes = valid;
      for (int n = 1 + static_cast<int>(random() % 4); n > 0; --n) {
        bytes[random() % (round % 2 == 0 ? 400 : bytes.size())] = static_cast<char>(random());
      }
      const auto file = GgufFile::Parse(std::as_bytes(std::span(bytes)), "damaged.gguf");
      if (!file.ok()) continue;
      const auto loaded = TokenizerFromGguf(**file);
      if (loaded.ok()) {
        (void)(*loaded)->Encode("Hello <|im_end|> 123\n", {});
      } else {
        EXPECT_EQ(Message(loaded.status()).find('\n'), std::string::npos)
            << Message(loaded.status());
      }
    }
  }
}

// A metadata-only GGUF.
class Gguf {
 public:
  Gguf& Text(const std::string& key, const std::string& value) { return Key(key, 8).Str(value); }
  Gguf& Number(const std::string& key, uint32_t value) { return Key(key, 4).U32(value); }
  Gguf& Texts(const std::string& key, const std::vector<std::string>& values) {
    Key(key, 9).U32(8).U64(values.size());
    for (const std::string& value : values) Str(value);
    return *this;
  }
  Gguf& Floats(const std::string& key, const std::vector<float>& values) {
    Key(key, 9).U32(6).U64(values.size());
    for (const float value : values) Raw(value);
    return *this;
  }
  std::string Error() const {
    std::string bytes = "GGUF";
    const auto append = [&bytes](auto value) {
      bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
    };
    append(uint32_t{3});
    append(uint64_t{0});
    append(count_);
    bytes += body_;
    const auto file = GgufFile::Parse(std::as_bytes(std::span(bytes)), "made.gguf");
    if (!file.ok()) return Cat("file: ", Message(file.status()));
    const auto loaded = TokenizerFromGguf(**file);
    return loaded.ok() ? std::string() : Message(loaded.status());
  }

 private:
  Gguf& Key(const std::string& key, uint32_t type) {
    ++count_;
    return Str("tokenizer.ggml." + key).U32(type);
  }
  Gguf& Str(const std::string& text) {
    U64(text.size());
    body_ += text;
    return *this;
  }
  template <typename T>
  Gguf& Raw(T value) {
    body_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Gguf& U32(uint32_t value) { return Raw(value); }
  Gguf& U64(uint64_t value) { return Raw(value); }

  std::string body_;
  uint64_t count_ = 0;
};

TEST(HostileGguf, KeysAreNamed) {
  const auto gpt2 = [] { return Gguf().Text("model", "gpt2").Text("pre", "gpt-2"); };
  const auto error = [](const Gguf& file, std::string_view part) {
    EXPECT_NE(file.Error().find(part), std::string::npos) << file.Error() << " lacks " << part;
  };
  EXPECT_EQ(gpt2().Texts("tokens", {"a", "b", "ab"}).Texts("merges", {"a b"}).Error(), "");
  error(Gguf(), "no vocabulary");
  error(Gguf().Text("model", "gpt2"), "no vocabulary");
  error(Gguf().Text("model", "bert").Texts("tokens", {"a"}), "bert");
  EXPECT_EQ(Gguf().Text("model", "rwkv").Texts("tokens", {"a", "\\xe4"}).Error(), "");
  error(Gguf().Text("model", "rwkv").Texts("tokens", {"a", "\\xz4"}), "tokenizer.ggml.tokens[1]");
  error(Gguf().Text("model", "rwkv").Texts("tokens", {"a", "\\x61"}), "tokenizer.ggml.tokens[1]");
  const auto t5 = [] {
    return Gguf().Text("model", "t5").Texts("tokens", {"a", "b", "c"}).Floats("scores", {0, 0, 0});
  };
  EXPECT_EQ(t5().Error(), "");
  error(Gguf().Text("model", "t5").Texts("tokens", {"a"}), "tokenizer.ggml.scores");
  error(t5().Number("precompiled_charsmap", 1), "tokenizer.ggml.precompiled_charsmap");
  error(t5().Texts("precompiled_charsmap", {"a"}), "tokenizer.ggml.precompiled_charsmap");
  error(t5().Number("unknown_token_id", 3), "tokenizer.ggml.unknown_token_id");
  error(Gguf().Number("model", 3).Texts("tokens", {"a"}), "tokenizer.ggml.model");
  error(gpt2().Number("tokens", 3), "tokenizer.ggml.tokens");
  error(gpt2().Texts("tokens", {}), "tokenizer.ggml.tokens");
  error(gpt2().Texts("tokens", {"a", "a"}).Texts("merges", {}), "tokenizer.ggml.tokens[1]");
  error(gpt2().Texts("tokens", {"\xFF"}).Texts("merges", {}), "tokenizer.ggml.tokens[0]");
  error(gpt2().Texts("tokens", {std::string(5000, 'a')}).Texts("merges", {}),
        "tokenizer.ggml.tokens[0]");
  error(gpt2().Texts("tokens", {"a"}), "tokenizer.ggml.merges");
  error(gpt2().Texts("tokens", {"a"}).Texts("merges", {"aa"}), "tokenizer.ggml.merges[0]");
  error(gpt2().Texts("tokens", {"a"}).Texts("merges", {"a a"}), "tokenizer.ggml.merges[0]");
  error(gpt2().Texts("tokens", {"a"}).Texts("merges", {}).Number("token_type", 1),
        "tokenizer.ggml.token_type");
  error(gpt2().Texts("tokens", {"a"}).Texts("merges", {}).Number("add_bos_token", 1),
        "tokenizer.ggml.add_bos_token");
  error(Gguf().Text("model", "gpt2").Number("pre", 1).Texts("tokens", {"a"}).Texts("merges", {}),
        "tokenizer.ggml.pre");
  error(gpt2().Texts("tokens", {"a"}).Texts("merges", {}).Number("eos_token_id", 1),
        "tokenizer.ggml.eos_token_id");
  error(Gguf().Text("model", "gpt2").Text("pre", "nope").Texts("tokens", {"a"}).Texts("merges", {}),
        "'nope'");
  error(Gguf().Text("model", "llama").Texts("tokens", {"a"}), "tokenizer.ggml.scores");
  error(Gguf().Text("model", "llama").Texts("tokens", {"a"}).Floats("scores", {}),
        "tokenizer.ggml.scores");
  error(Gguf().Text("model", "llama").Texts("tokens", {"a"}).Floats("scores", {NAN}),
        "tokenizer.ggml.scores[0]");
}

}  // namespace
}  // namespace shardline
