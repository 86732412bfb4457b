// Code points of UTF-8 text and the character properties that Python's str methods use. Text may
// hold bytes that are not UTF-8 (each counts as one code point) and lone surrogates.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace shardline::jinja {

bool IsAscii(std::string_view text);
bool IsValidUtf8(std::string_view text);  // surrogates are not valid

// Bytes of the code point that starts at `offset` (1 for a byte that starts none).
size_t CodePointWidth(std::string_view text, size_t offset);
// The code point at *offset, which moves past it.
char32_t NextCodePoint(std::string_view text, size_t* offset);
void AppendCodePoint(std::string* text, char32_t code_point);

size_t CountCodePoints(std::string_view text);
// The byte offset of code point `index`; text.size() when there are not that many.
size_t OffsetOf(std::string_view text, size_t index);

// As std::string_view's find and rfind, but linear in the text whatever it and `wanted` are, or
// paid for in steps.
size_t FindText(std::string_view text, std::string_view wanted, size_t from = 0);
size_t FindLastText(std::string_view text, std::string_view wanted,
                    size_t before = std::string_view::npos);

bool IsSpace(char32_t c);      // str.isspace()
bool IsLineBreak(char32_t c);  // where str.splitlines() splits
bool IsAlpha(char32_t c);
bool IsDecimal(char32_t c);
bool IsDigit(char32_t c);
bool IsNumeric(char32_t c);
bool IsUpper(char32_t c);
bool IsLower(char32_t c);
bool IsTitle(char32_t c);
bool IsCased(char32_t c);
bool IsPrintable(char32_t c);
bool IsIdentifierStart(char32_t c);
bool IsIdentifierPart(char32_t c);
int DecimalValue(char32_t c);  // -1: not a decimal digit

// Full case mappings of the root locale.
std::string ToUpper(std::string_view text);
std::string ToLower(std::string_view text);
std::string ToTitle(char32_t c);  // of one character
// The character of `text` at `offset` in lower case, which for a sigma depends on what is around
// it.
std::string ToLowerAt(std::string_view text, size_t offset);
std::string CaseFold(std::string_view text);

// The code point with this Unicode name; -1: none.
int32_t CodePointNamed(const std::string& name);

// Offsets at which `text` without leading (trailing) whitespace begins (ends).
size_t SkipSpace(std::string_view text, size_t begin);
size_t SkipSpaceBackwards(std::string_view text, size_t end);

}  // namespace shardline::jinja
