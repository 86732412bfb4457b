// JSON in (the variables of a rendering) and out (the tojson filter, which is Python's json.dumps).
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "gateway/text/jinja/options.h"
#include "gateway/text/jinja/value.h"

namespace shardline::jinja {

// The variable `name`. Strings below options.input_paths are marked, but for trusted_paths.
Value FromJson(const nlohmann::ordered_json& json, const std::string& name,
               const RenderOptions& options);

struct JsonStyle {
  bool ascii = false;
  std::optional<std::string> indent;  // one level of it; none: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};

// TypeError for what JSON has no form for.
std::string ToJson(const Value& value, const JsonStyle& style);

}  // namespace shardline::jinja
