// The variables of a rendering, from the text of a request or of standard input: JSON in its order,
// bounded in depth, with integers of any size. nlohmann's own parser turns integers above 64 bits
// into floating point numbers, which a template would print.
#pragma once

#include <absl/status/statusor.h>

#include <nlohmann/json.hpp>
#include <string_view>

namespace shardline::jinja {

// What RenderLimits allows by default.
inline constexpr size_t kMaxVariableDepth = 200;

// The object that `text` holds. An integer above 64 bits becomes a binary value with its digits,
// which Template::Render reads; JSON text has no other binary values. Errors: InvalidArgument
// saying where the text stops being JSON, that it is nested too deep, or is no object.
absl::StatusOr<nlohmann::ordered_json> ParseVariables(std::string_view text);

}  // namespace shardline::jinja
