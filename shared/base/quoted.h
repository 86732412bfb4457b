// Names that come from a file or a request, made safe to print in a one-line error: control
// characters and bytes outside ASCII printables are escaped, long names are cut.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace shardline {

// 'name' in single quotes; at most `limit` bytes of it, then "…".
inline std::string Quoted(std::string_view name, size_t limit = 120) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "'";
  for (size_t i = 0; i < name.size(); ++i) {
    if (i == limit) {
      out += "…";
      break;
    }
    const unsigned char c = static_cast<unsigned char>(name[i]);
    if (c == '\'' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20 || c >= 0x7f) {
      out += "\\x";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    } else {
      out += static_cast<char>(c);
    }
  }
  out += '\'';
  return out;
}

}  // namespace shardline
