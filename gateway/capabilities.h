// The one table of what a GenerateRequest may hold: validation checks requests against it (other
// requests too, where they have the same field), GetServerInfo shows it, and the documentation is
// made from it. A field that is not in the table does not exist.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace shardline {

struct Parameter {
  std::string_view field;  // path in GenerateRequest: "sampling.top_p"
  // Of a number, or of each number in a map.
  std::optional<double> min;
  std::optional<double> max;
  bool min_exclusive = false;
  bool served = true;  // false: setting the field is an error in this build
  // Of repeated and map fields; 0: any.
  uint32_t max_entries = 0;
  // Of strings, and of each string of a repeated field; 0: any.
  uint32_t min_bytes = 0;
  uint32_t max_bytes = 0;
  std::string_view note;
};

std::span<const Parameter> Capabilities();

// nullptr for a path that is no parameter.
const Parameter* FindParameter(std::string_view field);

}  // namespace shardline
