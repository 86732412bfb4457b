#include "gateway/text/tokenizer/json_fields.h"

#include <fstream>

#include "gateway/text/tokenizer/regex_syntax.h"
#include "gateway/text/utf8.h"

namespace shardline {
namespace {

constexpr int kMaxDepth = 64;
constexpr std::streamoff kMaxFileBytes = 512 << 20;

// Brackets outside strings; the parser proper checks everything else.
bool DeeperThan(std::string_view text, int limit) {
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      for (++i; i < text.size() && text[i] != '"'; ++i) {
        if (text[i] == '\\') ++i;
      }
    } else if (c == '[' || c == '{') {
      if (++depth > limit) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, std::string_view name) {
  if (DeeperThan(text, kMaxDepth)) {
    return InvalidArgument(name, ": JSON nested deeper than ", kMaxDepth);
  }
  nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return InvalidArgument(name, ": not valid JSON");
  return json;
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return NotFound(path, ": cannot be opened");
  const std::streamoff size = file.tellg();
  if (size < 0) return InvalidArgument(path, ": cannot be read");
  if (size > kMaxFileBytes)
    return InvalidArgument(path, ": ", size, " bytes are more than a tokenizer has");
  std::string text(static_cast<size_t>(size), '\0');
  file.seekg(0);
  if (!file.read(text.data(), size)) return InvalidArgument(path, ": cannot be read");
  return text;
}

const nlohmann::json* JsonFields::Find(const char* key) const {
  if (!json_.is_object()) return nullptr;
  const auto found = json_.find(key);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

absl::StatusOr<std::optional<std::string>> JsonFields::OptionalString(const char* key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return std::optional<std::string>();
  if (!value->is_string()) return InvalidArgument(Path(key), " must be a string");
  return std::optional<std::string>(value->get<std::string>());
}

absl::StatusOr<std::string> JsonFields::String(const char* key) const {
  SL_ASSIGN_OR_RETURN(std::optional<std::string> value, OptionalString(key));
  if (!value) return InvalidArgument(Path(key), " must be a string");
  return *std::move(value);
}

absl::StatusOr<bool> JsonFields::Bool(const char* key, std::optional<bool> fallback) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr && fallback) return *fallback;
  if (value == nullptr || !value->is_boolean())
    return InvalidArgument(Path(key), " must be true or false");
  return value->get<bool>();
}

absl::StatusOr<uint32_t> JsonFields::Uint(const char* key, std::optional<uint32_t> fallback) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr && fallback) return *fallback;
  if (value == nullptr || !value->is_number_unsigned() || value->get<uint64_t>() > UINT32_MAX) {
    return InvalidArgument(Path(key), " must be a number from 0 to 4294967295");
  }
  return value->get<uint32_t>();
}

absl::StatusOr<const nlohmann::json*> JsonFields::Array(const char* key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr || !value->is_array()) return InvalidArgument(Path(key), " must be a list");
  return value;
}

absl::StatusOr<char32_t> JsonFields::Character(const char* key) const {
  SL_ASSIGN_OR_RETURN(const std::string text, String(key));
  size_t at = 0;
  if (text.empty() || CharacterLength(text[0]) != text.size())
    return InvalidArgument(Path(key), " must be one character");
  return NextCharacter(text, &at);
}

absl::StatusOr<Regex> JsonFields::Pattern(const char* key) const {
  const nlohmann::json* value = Find(key);
  if (value != nullptr) {
    const JsonFields fields(*value, Path(key));
    const nlohmann::json* literal = fields.Find("String");
    const nlohmann::json* regex = fields.Find("Regex");
    if ((literal == nullptr) != (regex == nullptr)) {
      SL_ASSIGN_OR_RETURN(const std::string text,
                          fields.String(literal != nullptr ? "String" : "Regex"));
      absl::StatusOr<Regex> compiled =
          Regex::Compile(literal != nullptr ? QuoteForRegex(text) : text);
      if (!compiled.ok()) return Annotate(compiled.status(), Path(key));
      return compiled;
    }
  }
  return InvalidArgument(Path(key), " must be {\"String\": …} or {\"Regex\": …}");
}

std::string ElementPath(const std::string& path, const char* key, size_t index) {
  return Cat(path, ".", key, "[", index, "]");
}

}  // namespace shardline
