// JSON from files and requests, bounded in depth and number of values; from requests in its order.
// Copying and printing nlohmann values recurses, so depth is cut where text becomes values.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "shared/base/status.h"

namespace shardline {

using Json = nlohmann::ordered_json;

inline constexpr int kMaxJsonDepth = 128;

// Errors: InvalidArgument saying where the text stops being JSON, or that it is nested too deep or
// has too many values.
absl::StatusOr<Json> ParseJson(std::string_view text);
// The same, and it must be an object.
absl::StatusOr<Json> ParseJsonObject(std::string_view text);
// A file that holds an object; its order is lost. Errors: NotFound when there is no such file;
// InvalidArgument "PATH: …".
absl::StatusOr<nlohmann::json> ReadJsonFile(const std::string& path);

}  // namespace shardline
