// What several commands print alike: tables, numbers, and protobuf messages as JSON.
#pragma once

#include <google/protobuf/message.h>

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "shared/base/status.h"

namespace shardline::cli {

using Row = std::vector<std::string>;

// Columns two spaces apart, as wide as their widest cell; columns whose title (in rows[0]) begins
// with '>' stand at the right, without that sign.
void WriteTable(std::vector<Row> rows, std::ostream& out);

// Characters of well-formed UTF-8, which is how wide plain text shows.
size_t Width(std::string_view text);

// printf's number: Fixed("%.1f", 2.34).
std::string Fixed(const char* format, double value);

// One line, with the contract's field names. `all`: fields at their default too. Error: text that
// is no UTF-8.
absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message, bool all);

}  // namespace shardline::cli
