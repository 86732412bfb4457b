// JSON from a user's file.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace shardline::cli {

// Keys in the file's order. Discarded when `text` is no JSON, or nested deeper than 200 levels.
nlohmann::ordered_json ParseJson(std::string_view text);

}  // namespace shardline::cli
