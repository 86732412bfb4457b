#include "gateway/text/jinja/unicode.h"

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <cstring>

#include "gateway/text/jinja/budget.h"

namespace shardline::jinja {

namespace {

bool IsContinuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

UChar32 Code(char32_t c) { return static_cast<UChar32>(c); }

// Applies an ICU mapping to the valid parts of `text`; other bytes and surrogates stay.
template <typename Mapping>
std::string MapValid(std::string_view text, Mapping mapping) {
  if (IsValidUtf8(text)) {
    icu::UnicodeString wide = icu::UnicodeString::fromUTF8(
        icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
    mapping(wide);
    std::string out;
    wide.toUTF8String(out);
    return out;
  }
  std::string out;
  for (size_t offset = 0; offset < text.size();) {
    const size_t width = CodePointWidth(text, offset);
    const std::string_view one = text.substr(offset, width);
    if (IsValidUtf8(one)) {
      out += MapValid(one, mapping);
    } else {
      out.append(one);
    }
    offset += width;
  }
  return out;
}

}  // namespace

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

size_t CodePointWidth(std::string_view text, size_t offset) {
  const auto lead = static_cast<unsigned char>(text[offset]);
  const size_t width = lead < 0x80   ? 1
                       : lead < 0xC2 ? 1
                       : lead < 0xE0 ? 2
                       : lead < 0xF0 ? 3
                       : lead < 0xF5 ? 4
                                     : 1;
  if (offset + width > text.size()) return 1;
  for (size_t i = 1; i < width; ++i) {
    if (!IsContinuation(static_cast<unsigned char>(text[offset + i]))) return 1;
  }
  const auto second = width > 1 ? static_cast<unsigned char>(text[offset + 1]) : 0;
  if ((lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90) ||
      (lead == 0xF4 && second > 0x8F)) {
    return 1;
  }
  return width;
}

char32_t NextCodePoint(std::string_view text, size_t* offset) {
  const size_t width = CodePointWidth(text, *offset);
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[*offset + i]); };
  char32_t code_point = 0;
  if (width == 1) code_point = byte(0) < 0x80 ? byte(0) : 0xFFFD;
  if (width == 2) code_point = (byte(0) & 0x1Fu) << 6 | (byte(1) & 0x3Fu);
  if (width == 3) {
    code_point = (byte(0) & 0x0Fu) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu);
  }
  if (width == 4) {
    code_point = (byte(0) & 0x07u) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 |
                 (byte(3) & 0x3Fu);
  }
  *offset += width;
  return code_point;
}

bool IsValidUtf8(std::string_view text) {
  for (size_t offset = 0; offset < text.size();) {
    const auto lead = static_cast<unsigned char>(text[offset]);
    if (lead < 0x80) {
      ++offset;
      continue;
    }
    const size_t width = CodePointWidth(text, offset);
    if (width == 1) return false;
    if (lead == 0xED && static_cast<unsigned char>(text[offset + 1]) >= 0xA0) return false;
    offset += width;
  }
  return true;
}

void AppendCodePoint(std::string* text, char32_t c) {
  const auto put = [text](char32_t byte) { text->push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F)),
        put(0x80 | (c & 0x3F));
  }
}

size_t CountCodePoints(std::string_view text) {
  StepBytes(text.size());
  if (IsAscii(text)) return text.size();
  size_t count = 0;
  for (size_t offset = 0; offset < text.size(); ++count) offset += CodePointWidth(text, offset);
  return count;
}

size_t OffsetOf(std::string_view text, size_t index) {
  size_t offset = 0;
  while (index > 0 && offset < text.size()) {
    offset += CodePointWidth(text, offset);
    --index;
  }
  StepBytes(offset);
  return offset;
}

size_t FindText(std::string_view text, std::string_view wanted, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  const char* const found = static_cast<const char*>(
      memmem(text.data() + from, text.size() - from, wanted.data(), wanted.size()));
  const size_t at =
      found == nullptr ? std::string_view::npos : static_cast<size_t>(found - text.data());
  StepBytes(std::min(at, text.size()) - from);
  return at;
}

size_t FindLastText(std::string_view text, std::string_view wanted, size_t before) {
  if (wanted.size() > text.size()) return std::string_view::npos;
  const size_t last = std::min(before, text.size() - wanted.size());
  if (wanted.empty()) return last;
  StepBytes(last);
  for (size_t at = last + 1; at-- > 0;) {
    if (text[at] != wanted[0] || text[at + wanted.size() - 1] != wanted.back()) continue;
    StepBytes(wanted.size());
    if (text.substr(at, wanted.size()) == wanted) return at;
  }
  return std::string_view::npos;
}

bool IsSpace(char32_t c) {
  if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 28 && c <= 32);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsLineBreak(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool IsAlpha(char32_t c) { return (U_GET_GC_MASK(Code(c)) & U_GC_L_MASK) != 0; }
bool IsDecimal(char32_t c) { return DecimalValue(c) >= 0; }
bool IsDigit(char32_t c) {
  const int type = u_getIntPropertyValue(Code(c), UCHAR_NUMERIC_TYPE);
  return type == U_NT_DECIMAL || type == U_NT_DIGIT;
}
bool IsNumeric(char32_t c) {
  return u_getIntPropertyValue(Code(c), UCHAR_NUMERIC_TYPE) != U_NT_NONE;
}
bool IsUpper(char32_t c) { return u_hasBinaryProperty(Code(c), UCHAR_UPPERCASE); }
bool IsLower(char32_t c) { return u_hasBinaryProperty(Code(c), UCHAR_LOWERCASE); }
bool IsTitle(char32_t c) { return u_charType(Code(c)) == U_TITLECASE_LETTER; }
bool IsCased(char32_t c) { return IsUpper(c) || IsLower(c) || IsTitle(c); }

bool IsPrintable(char32_t c) {
  if (c == ' ') return true;
  return (U_GET_GC_MASK(Code(c)) & (U_GC_C_MASK | U_GC_Z_MASK)) == 0;
}

bool IsIdentifierStart(char32_t c) {
  return c == '_' || u_hasBinaryProperty(Code(c), UCHAR_XID_START);
}
bool IsIdentifierPart(char32_t c) { return u_hasBinaryProperty(Code(c), UCHAR_XID_CONTINUE); }

int DecimalValue(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9' ? static_cast<int>(c - '0') : -1;
  return u_charDigitValue(Code(c));
}

std::string ToUpper(std::string_view text) {
  std::string out(text);
  if (IsAscii(text)) {
    for (char& c : out) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    return out;
  }
  return MapValid(text, [](icu::UnicodeString& wide) { wide.toUpper(icu::Locale::getRoot()); });
}

std::string ToLower(std::string_view text) {
  std::string out(text);
  if (IsAscii(text)) {
    for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return out;
  }
  return MapValid(text, [](icu::UnicodeString& wide) { wide.toLower(icu::Locale::getRoot()); });
}

std::string ToTitle(char32_t c) {
  std::string one;
  AppendCodePoint(&one, c);
  if (c < 0x80) return ToUpper(one);
  if (!IsValidUtf8(one)) return one;
  return MapValid(one, [](icu::UnicodeString& wide) {
    wide.toTitle(nullptr, icu::Locale::getRoot(), U_TITLECASE_NO_BREAK_ADJUSTMENT);
  });
}

namespace {

bool IsCaseIgnorable(char32_t c) { return u_hasBinaryProperty(Code(c), UCHAR_CASE_IGNORABLE); }

// Whether the first character before `offset` that is not case-ignorable is cased.
bool CasedBefore(std::string_view text, size_t offset) {
  while (offset > 0) {
    size_t begin = offset - 1;
    while (begin > 0 && IsContinuation(static_cast<unsigned char>(text[begin]))) --begin;
    size_t next = begin;
    const char32_t c = NextCodePoint(text, &next);
    if (!IsCaseIgnorable(c)) return IsCased(c);
    offset = begin;
  }
  return false;
}

bool CasedAfter(std::string_view text, size_t offset) {
  while (offset < text.size()) {
    const char32_t c = NextCodePoint(text, &offset);
    if (!IsCaseIgnorable(c)) return IsCased(c);
  }
  return false;
}

}  // namespace

std::string ToLowerAt(std::string_view text, size_t offset) {
  const size_t width = CodePointWidth(text, offset);
  size_t next = offset;
  constexpr char32_t kSigma = 0x3A3;
  if (NextCodePoint(text, &next) == kSigma && CasedBefore(text, offset) &&
      !CasedAfter(text, next)) {
    return "\u03C2";
  }
  return ToLower(text.substr(offset, width));
}

std::string CaseFold(std::string_view text) {
  if (IsAscii(text)) return ToLower(text);
  return MapValid(text, [](icu::UnicodeString& wide) { wide.foldCase(); });
}

int32_t CodePointNamed(const std::string& name) {
  UErrorCode error = U_ZERO_ERROR;
  const UChar32 code = u_charFromName(U_UNICODE_CHAR_NAME, name.c_str(), &error);
  if (U_SUCCESS(error)) return code;
  error = U_ZERO_ERROR;
  const UChar32 alias = u_charFromName(U_CHAR_NAME_ALIAS, name.c_str(), &error);
  return U_SUCCESS(error) ? alias : -1;
}

size_t SkipSpace(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t next = begin;
    if (!IsSpace(NextCodePoint(text, &next))) break;
    begin = next;
  }
  return begin;
}

size_t SkipSpaceBackwards(std::string_view text, size_t end) {
  while (end > 0) {
    size_t start = end - 1;
    while (start > 0 && end - start < 4 &&
           IsContinuation(static_cast<unsigned char>(text[start]))) {
      --start;
    }
    size_t next = start;
    if (!IsSpace(NextCodePoint(text, &next)) || next != end) break;
    end = start;
  }
  return end;
}

}  // namespace shardline::jinja
