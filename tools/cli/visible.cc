#include "tools/cli/visible.h"

#include "gateway/text/utf8.h"

namespace shardline::cli {
namespace {

// C0, DEL and C1, of a character's UTF-8.
bool IsControl(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7f;
  return first == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0;
}

void AppendHex(std::string& out, std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += "\\x";
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
}

}  // namespace

std::string Escaped(std::string_view bytes) {
  std::string out = "\"";
  for (size_t at = 0; at < bytes.size();) {
    const Utf8Scan scan = ScanUtf8(bytes, at);
    const std::string_view part = bytes.substr(at, scan.length);
    at += scan.length;
    if (part == "\n") {
      out += "\\n";
    } else if (part == "\r") {
      out += "\\r";
    } else if (part == "\t") {
      out += "\\t";
    } else if (part == "\"" || part == "\\") {
      out += '\\';
      out += part;
    } else if (scan.part != Utf8Part::kCharacter || IsControl(part)) {
      AppendHex(out, part);
    } else {
      out += part;
    }
  }
  return out += '"';
}

std::string WithoutControls(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Scan scan = ScanUtf8(text, at);
    const std::string_view part = text.substr(at, scan.length);
    at += scan.length;
    if (part == "\n" || part == "\t" || !IsControl(part)) out += part;
  }
  return out;
}

}  // namespace shardline::cli
