// Ranges of bytes of a text.
#pragma once

#include <cstddef>
#include <vector>

namespace shardline::jinja {

struct Range {
  size_t begin = 0;
  size_t end = 0;
  bool operator==(const Range&) const = default;
};

// Sorted, disjoint, not touching: the bytes of a string that came from marked input.
using Marks = std::vector<Range>;

}  // namespace shardline::jinja
