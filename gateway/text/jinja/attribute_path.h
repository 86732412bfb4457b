// The `attribute` argument of filters: "name", "a.b.0" or an index.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "gateway/text/jinja/value.h"

namespace shardline::jinja {

class AttributePath {
 public:
  explicit AttributePath(const Value& attribute);  // None: the item itself

  // `fallback` replaces what is undefined on the way.
  Value Get(Interpreter& interpreter, const Value& item, const Value* fallback = nullptr) const;

 private:
  std::vector<Value> parts_;
};

// The paths of a comma-separated attribute.
std::vector<AttributePath> AttributePaths(const Value& attribute);

// A string in lower case; anything else as it is.
Value IgnoreCase(const Value& value);

}  // namespace shardline::jinja
