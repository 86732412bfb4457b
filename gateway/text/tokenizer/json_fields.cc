#include "gateway/text/tokenizer/json_fields.h"

#include "gateway/text/tokenizer/regex_syntax.h"
#include "gateway/text/utf8.h"

namespace shardline {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxValues = size_t{1} << 23;  // twice what the largest vocabularies hold
constexpr size_t kMaxParts = 64;

// Brackets and commas outside strings; the parser proper checks everything else.
absl::Status CheckSize(std::string_view text) {
  int depth = 0;
  size_t values = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      for (++i; i < text.size() && text[i] != '"'; ++i) {
        if (text[i] == '\\') ++i;
      }
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return InvalidArgument("JSON nested deeper than ", kMaxDepth);
      ++values;
    } else if (c == ']' || c == '}') {
      --depth;
    } else if (c == ',') {
      ++values;
    }
    if (values > kMaxValues) return InvalidArgument("JSON of more than ", kMaxValues, " values");
  }
  return absl::OkStatus();
}

// Objects with a type, the part itself included.
size_t CountParts(const nlohmann::json& json) {
  size_t count = json.is_object() && json.contains("type") ? 1 : 0;
  if (!json.is_structured()) return count;
  for (const nlohmann::json& inner : json) count += CountParts(inner);
  return count;
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, std::string_view name) {
  SL_RETURN_IF_ERROR(Annotate(CheckSize(text), name));
  nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return InvalidArgument(name, ": not valid JSON");
  return json;
}

absl::Status CheckParts(const nlohmann::json& part, std::string_view name) {
  const size_t parts = CountParts(part);
  if (parts <= kMaxParts) return absl::OkStatus();
  return InvalidArgument(name, " has ", parts, " parts, more than ", kMaxParts);
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
