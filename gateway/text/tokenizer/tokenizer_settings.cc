#include "gateway/text/tokenizer/tokenizer_settings.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "gateway/text/tokenizer/json_fields.h"
#include "shared/base/file.h"
#include "shared/base/quoted.h"

namespace shardline {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;
constexpr size_t kMaxAddedTokens = 1 << 16;

// Null where there is no such file.
absl::StatusOr<nlohmann::json> ReadOptional(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadWholeFile(path, kMaxFileBytes);
  if (absl::IsNotFound(text.status())) return nlohmann::json();
  if (!text.ok()) return text.status();
  return ParseJson(*text, path);
}

// "eos_token": "</s>" or {"content": "</s>", …}.
absl::Status ReadNamedToken(const JsonFields& fields, const char* key, std::string& token) {
  const nlohmann::json* value = fields.Find(key);
  if (value == nullptr || !token.empty()) return absl::OkStatus();
  if (value->is_string()) {
    token = value->get<std::string>();
    return absl::OkStatus();
  }
  SL_ASSIGN_OR_RETURN(token, JsonFields(*value, fields.Path(key)).String("content"));
  return absl::OkStatus();
}

absl::Status ReadFlag(const JsonFields& fields, const char* key, std::optional<bool>& flag) {
  if (fields.Find(key) == nullptr) return absl::OkStatus();
  SL_ASSIGN_OR_RETURN(flag, fields.Bool(key));
  return absl::OkStatus();
}

// {"32000": {"content": "<|end|>", "special": true, …}, …}
absl::Status ReadAddedTokens(const JsonFields& fields, std::vector<AddedToken>& tokens) {
  constexpr const char* kKey = "added_tokens_decoder";
  const nlohmann::json* list = fields.Find(kKey);
  if (list == nullptr) return absl::OkStatus();
  if (!list->is_object() || list->size() > kMaxAddedTokens) {
    return InvalidArgument(fields.Path(kKey), " must be an object of at most ", kMaxAddedTokens,
                           " ids");
  }
  for (const auto& [id, value] : list->items()) {
    const std::string path = Cat(fields.Path(kKey), ".", Quoted(id));
    const JsonFields entry(value, path);
    AddedToken token;
    const auto parsed = std::from_chars(id.data(), id.data() + id.size(), token.id);
    if (parsed.ec != std::errc() || parsed.ptr != id.data() + id.size() ||
        token.id >= Vocabulary::kMaxId) {
      return InvalidArgument(path, " is not the id of a token");
    }
    SL_ASSIGN_OR_RETURN(token.content, entry.String("content"));
    SL_ASSIGN_OR_RETURN(token.special, entry.Bool("special", false));
    SL_ASSIGN_OR_RETURN(token.single_word, entry.Bool("single_word", false));
    SL_ASSIGN_OR_RETURN(token.lstrip, entry.Bool("lstrip", false));
    SL_ASSIGN_OR_RETURN(token.rstrip, entry.Bool("rstrip", false));
    SL_ASSIGN_OR_RETURN(token.normalized, entry.Bool("normalized", !token.special));
    if (!token.content.empty()) tokens.push_back(std::move(token));
  }
  std::sort(tokens.begin(), tokens.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return absl::OkStatus();
}

// {"<|end|>": 32000, …}
absl::Status ReadVocabularyTokens(const nlohmann::json& json, const std::string& path,
                                  std::vector<AddedToken>& tokens) {
  if (json.is_null()) return absl::OkStatus();
  if (!json.is_object() || json.size() > kMaxAddedTokens) {
    return InvalidArgument(path, ": must be an object of at most ", kMaxAddedTokens, " tokens");
  }
  for (const auto& [content, id] : json.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= Vocabulary::kMaxId) {
      return InvalidArgument(path, ": ", Quoted(content), " must have an id below ",
                             Vocabulary::kMaxId);
    }
    AddedToken token;
    token.content = content;
    token.id = id.get<uint32_t>();
    if (!content.empty()) tokens.push_back(std::move(token));
  }
  return absl::OkStatus();
}

// Classes that put their own post-processor in the place of the file's. Files that were published
// with them often have none that adds a BOS.
bool GoesByFlags(std::string_view tokenizer_class) {
  return tokenizer_class == "LlamaTokenizer" || tokenizer_class == "CodeLlamaTokenizer" ||
         tokenizer_class == "GemmaTokenizer" || tokenizer_class == "CohereTokenizer";
}

absl::Status ReadFields(const JsonFields& fields, TokenizerSettings& settings) {
  SL_ASSIGN_OR_RETURN(const auto name, fields.OptionalString("tokenizer_class"));
  if (name) settings.tokenizer_class = *name;
  if (settings.tokenizer_class.ends_with("Fast")) {
    settings.tokenizer_class.resize(settings.tokenizer_class.size() - 4);
  }
  SL_RETURN_IF_ERROR(ReadFlag(fields, "add_bos_token", settings.add_bos_token));
  SL_RETURN_IF_ERROR(ReadFlag(fields, "add_eos_token", settings.add_eos_token));
  SL_RETURN_IF_ERROR(ReadNamedToken(fields, "bos_token", settings.bos_token));
  SL_RETURN_IF_ERROR(ReadNamedToken(fields, "eos_token", settings.eos_token));
  return ReadAddedTokens(fields, settings.added_tokens);
}

}  // namespace

absl::StatusOr<TokenizerSettings> ReadTokenizerSettings(const std::string& directory) {
  TokenizerSettings settings;
  const auto path = [&](const char* name) {
    return (std::filesystem::path(directory) / name).string();
  };
  // What tokenizer_config.json names comes before special_tokens_map.json.
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    SL_ASSIGN_OR_RETURN(const nlohmann::json json, ReadOptional(path(name)));
    const absl::Status read = ReadFields(JsonFields(json, ""), settings);
    if (!read.ok()) return Annotate(read, path(name));
  }
  const std::string added_path = path("added_tokens.json");
  SL_ASSIGN_OR_RETURN(const nlohmann::json added, ReadOptional(added_path));
  SL_RETURN_IF_ERROR(ReadVocabularyTokens(added, added_path, settings.vocabulary_tokens));
  return settings;
}

int64_t FindToken(const TokenizerParts& parts, std::string_view content) {
  for (const AddedToken& token : parts.added_tokens) {
    if (token.content == content) return token.id;
  }
  const auto id = parts.model->vocabulary().Find(content);
  return id ? static_cast<int64_t>(*id) : -1;
}

void ApplyEnds(const TokenizerSettings& settings, TokenizerParts& parts) {
  if (!settings.bos_token.empty()) parts.bos_id = FindToken(parts, settings.bos_token);
  if (!settings.eos_token.empty()) parts.eos_id = FindToken(parts, settings.eos_token);
  if (parts.bos_id < 0) parts.bos_id = parts.post_processor.first_token();
  if (!GoesByFlags(settings.tokenizer_class)) return;
  if (!settings.add_bos_token && !settings.add_eos_token) return;
  std::vector<uint32_t> before, after;
  if (settings.add_bos_token.value_or(true) && parts.bos_id >= 0) {
    before.push_back(static_cast<uint32_t>(parts.bos_id));
  }
  if (settings.add_eos_token.value_or(false) && parts.eos_id >= 0) {
    after.push_back(static_cast<uint32_t>(parts.eos_id));
  }
  parts.post_processor = PostProcessor();
  parts.post_processor.AddAround(std::move(before), std::move(after));
}

}  // namespace shardline
