// Cat(parts...): the parts as one string. Takes std::string_view, as Debian's absl::StrCat does
// not.
#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <type_traits>

namespace shardline {

namespace strings_internal {
inline void Append(std::string& out, std::string_view part) { out.append(part); }
inline void Append(std::string& out, const std::string& part) { out.append(part); }
inline void Append(std::string& out, const char* part) { out.append(part); }
inline void Append(std::string& out, char part) { out.push_back(part); }
inline void Append(std::string& out, bool part) { out.append(part ? "true" : "false"); }
template <typename T>
requires(std::is_arithmetic_v<T>) void Append(std::string& out, T part) {
  char buffer[64];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), part);
  out.append(buffer, result.ptr);
}
}  // namespace strings_internal

template <typename... Parts>
std::string Cat(const Parts&... parts) {
  std::string out;
  (strings_internal::Append(out, parts), ...);
  return out;
}

}  // namespace shardline
