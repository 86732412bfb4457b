// UTF-8 at the level of bytes: what the tokenizer, the detokenizer and stop strings share.
// Ill-formed input is divided into maximal ill-formed parts (The Unicode Standard 15, §3.9, "U+FFFD
// substitution of maximal subparts"), which is also what Python's and Rust's lossy decoders do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace shardline {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

enum class Utf8Part {
  kCharacter,   // a whole character
  kIllFormed,   // a maximal ill-formed part: becomes one U+FFFD
  kIncomplete,  // the bytes end inside what may still become a character
};
struct Utf8Scan {
  Utf8Part part;
  size_t length;  // bytes, at least 1
};
// What stands at bytes[begin]; begin < bytes.size().
Utf8Scan ScanUtf8(std::string_view bytes, size_t begin);

bool IsWellFormedUtf8(std::string_view bytes);
// Each maximal ill-formed part (an unfinished tail too) as one U+FFFD.
std::string ReplaceIllFormed(std::string_view bytes);

// The character at text[*at] of WELL-FORMED text; moves *at behind it.
inline char32_t NextCharacter(std::string_view text, size_t* at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[*at + i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) {
    *at += 1;
    return lead;
  }
  if (lead < 0xE0) {
    const char32_t c = (lead & 0x1Fu) << 6 | (byte(1) & 0x3Fu);
    *at += 2;
    return c;
  }
  if (lead < 0xF0) {
    const char32_t c = (lead & 0x0Fu) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu);
    *at += 3;
    return c;
  }
  const char32_t c =
      (lead & 0x07u) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu);
  *at += 4;
  return c;
}

// Bytes of the character whose first byte is `lead`, in well-formed text.
inline size_t CharacterLength(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

void AppendUtf8(std::string& out, char32_t character);

}  // namespace shardline
