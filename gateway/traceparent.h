// The `traceparent` header of W3C Trace Context: which trace a request belongs to, and which span
// of the caller's it came from. https://www.w3.org/TR/trace-context/#traceparent-header
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

namespace shardline {

struct Traceparent {
  std::string trace_id;   // 32 lower-case hexadecimal digits
  std::string parent_id;  // 16 of them
};

// nullopt for what is malformed: the standard says to go on as if it were not there.
inline std::optional<Traceparent> ParseTraceparent(std::string_view header) {
  const auto is_id = [](std::string_view text) {
    return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  };
  const auto is_zero = [](std::string_view text) {
    return text.find_first_not_of('0') == std::string_view::npos;
  };
  constexpr size_t kLength = 55;  // version-trace-parent-flags: 2, 32, 16 and 2 digits
  if (header.size() < kLength || header[2] != '-' || header[35] != '-' || header[52] != '-') {
    return std::nullopt;
  }
  const std::string_view version = header.substr(0, 2), trace = header.substr(3, 32),
                         parent = header.substr(36, 16), flags = header.substr(53, 2);
  if (!is_id(version) || !is_id(trace) || !is_id(parent) || !is_id(flags)) return std::nullopt;
  // Version 00 has nothing more; a later one may, after another dash.
  if (version == "ff" || (version == "00" && header.size() > kLength)) return std::nullopt;
  if (header.size() > kLength && header[kLength] != '-') return std::nullopt;
  if (is_zero(trace) || is_zero(parent)) return std::nullopt;
  return Traceparent{std::string(trace), std::string(parent)};
}

}  // namespace shardline
