// Standard input and files as whole strings, bounded.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

#include "shared/base/status.h"

namespace shardline::cli {

inline constexpr size_t kMaxInputBytes = size_t{256} << 20;

// Everything up to the end of `in`, byte for byte. Error: more than kMaxInputBytes.
absl::StatusOr<std::string> ReadAll(std::istream& in);

// One line without its '\n'; false at the end. Error: a line of more than kMaxInputBytes.
absl::StatusOr<bool> ReadLine(std::istream& in, std::string& line);

absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace shardline::cli
