// Typed access to tokenizer.json's objects with errors that name the field.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "gateway/text/tokenizer/regex.h"
#include "shared/base/status.h"

namespace shardline {

// `name` is for errors. Refuses invalid JSON, invalid UTF-8, nesting deeper than 64 and more than
// 2^23 values, each of which takes some forty bytes.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, std::string_view name);
// A part of the pipeline with all parts inside it: refuses more of them than any tokenizer has, for
// each costs time on every text.
absl::Status CheckParts(const nlohmann::json& part, std::string_view name);

class JsonFields {
 public:
  // `json` must outlive this. Not an object: every look-up is an error.
  JsonFields(const nlohmann::json& json, std::string path) : json_(json), path_(std::move(path)) {}

  // nullptr when absent or null.
  const nlohmann::json* Find(const char* key) const;
  // Required unless there is a fallback. Errors: InvalidArgument "PATH.key must be …".
  absl::StatusOr<std::string> String(const char* key) const;
  absl::StatusOr<std::optional<std::string>> OptionalString(const char* key) const;
  absl::StatusOr<bool> Bool(const char* key, std::optional<bool> fallback = std::nullopt) const;
  absl::StatusOr<uint32_t> Uint(const char* key,
                                std::optional<uint32_t> fallback = std::nullopt) const;
  absl::StatusOr<const nlohmann::json*> Array(const char* key) const;
  // A string of exactly one character.
  absl::StatusOr<char32_t> Character(const char* key) const;
  // {"String": "…"} or {"Regex": "…"}.
  absl::StatusOr<Regex> Pattern(const char* key) const;

  std::string Path(const char* key) const { return path_.empty() ? key : Cat(path_, ".", key); }
  const std::string& path() const { return path_; }

 private:
  const nlohmann::json& json_;
  std::string path_;
};

// "normalizers" of "normalizer" at 2 → "normalizer.normalizers[2]".
std::string ElementPath(const std::string& path, const char* key, size_t index);

}  // namespace shardline
