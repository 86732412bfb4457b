// What a PromQL expression refers to: the metrics and labels it names. Reads just enough of the
// language for that; promtool checks the rest.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace shardline {

struct PromqlNames {
  std::set<std::string> metrics;
  std::set<std::pair<std::string, std::string>> matchers;  // metric, label in its braces
  std::set<std::pair<std::string, std::string>> values;    // label, value that an = or != names
  std::set<std::string> grouping;  // labels of by (…), on (…) and the like
};

PromqlNames NamesOf(std::string_view expression);

}  // namespace shardline
