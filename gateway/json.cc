#include "gateway/json.h"

#include <filesystem>
#include <fstream>

namespace shardline {

absl::StatusOr<Json> ParseJson(std::string_view text) {
  bool too_deep = false;
  const auto callback = [&too_deep](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxJsonDepth) too_deep = true;
    return !too_deep;  // what lies deeper is dropped, so the value stays shallow
  };
  try {
    Json value = Json::parse(text.begin(), text.end(), callback);
    if (too_deep) return InvalidArgument("nested deeper than ", kMaxJsonDepth, " levels");
    return value;
  } catch (const nlohmann::json::parse_error& error) {
    return InvalidArgument("not valid JSON at byte ", error.byte);
  } catch (const nlohmann::json::exception& error) {
    return InvalidArgument("not valid JSON");  // a number out of range
  }
}

absl::StatusOr<Json> ParseJsonObject(std::string_view text) {
  SL_ASSIGN_OR_RETURN(Json value, ParseJson(text));
  if (!value.is_object()) return InvalidArgument("must be a JSON object");
  return value;
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  constexpr uintmax_t kMaxBytes = uintmax_t{64} << 20;
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return NotFound(path, ": no such file");
  const uintmax_t bytes = std::filesystem::file_size(path, error);
  if (error || bytes > kMaxBytes) return InvalidArgument(path, ": larger than 64 MiB");
  std::ifstream file(path, std::ios::binary);
  std::string text(bytes, '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(bytes))) {
    return InvalidArgument(path, ": cannot be read");
  }
  return text;
}

absl::StatusOr<Json> ReadJsonFile(const std::string& path) {
  SL_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  absl::StatusOr<Json> value = ParseJsonObject(text);
  if (!value.ok()) return Annotate(value.status(), path);
  return value;
}

}  // namespace shardline
