// Text that comes from a file or a request, made safe to print in a one-line error: control
// characters and, in names, bytes outside ASCII printables are escaped; long text is cut.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace shardline {

// What is printed as one line: control characters become spaces, and a line longer than `limit`
// bytes is cut.
inline std::string OneLine(std::string_view text, size_t limit = 3000) {
  std::string out(text.substr(0, limit));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  if (text.size() > limit) out += "…";
  return out;
}

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
