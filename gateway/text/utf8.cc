#include "gateway/text/utf8.h"

namespace shardline {

Utf8Scan ScanUtf8(std::string_view bytes, size_t begin) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = byte(begin);
  if (lead < 0x80) return {Utf8Part::kCharacter, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Utf8Part::kIllFormed, 1};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range is narrower after some leads: no overlong forms, surrogates, >
  // U+10FFFF.
  unsigned char low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < length; ++i) {
    if (begin + i == bytes.size()) return {Utf8Part::kIncomplete, i};
    const unsigned char next = byte(begin + i);
    if (next < low || next > high) return {Utf8Part::kIllFormed, i};
    low = 0x80;
    high = 0xBF;
  }
  return {Utf8Part::kCharacter, length};
}

bool IsWellFormedUtf8(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size();) {
    if (static_cast<unsigned char>(bytes[i]) < 0x80) {
      ++i;
      continue;
    }
    const Utf8Scan scan = ScanUtf8(bytes, i);
    if (scan.part != Utf8Part::kCharacter) return false;
    i += scan.length;
  }
  return true;
}

std::string ReplaceIllFormed(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size();) {
    const Utf8Scan scan = ScanUtf8(bytes, i);
    out.append(scan.part == Utf8Part::kCharacter ? bytes.substr(i, scan.length)
                                                 : kReplacementCharacter);
    i += scan.length;
  }
  return out;
}

void AppendUtf8(std::string& out, char32_t character) {
  if (character < 0x80) {
    out.push_back(static_cast<char>(character));
    return;
  }
  if (character < 0x800) {
    out.push_back(static_cast<char>(0xC0 | character >> 6));
  } else {
    if (character < 0x10000) {
      out.push_back(static_cast<char>(0xE0 | character >> 12));
    } else {
      out.push_back(static_cast<char>(0xF0 | character >> 18));
      out.push_back(static_cast<char>(0x80 | (character >> 12 & 0x3F)));
    }
    out.push_back(static_cast<char>(0x80 | (character >> 6 & 0x3F)));
  }
  out.push_back(static_cast<char>(0x80 | (character & 0x3F)));
}

}  // namespace shardline
