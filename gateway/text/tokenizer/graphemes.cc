#include "gateway/text/tokenizer/graphemes.h"

#include <unicode/uchar.h>

#include "gateway/text/tokenizer/unicode_data.h"
#include "gateway/text/utf8.h"

namespace shardline {
namespace {

int BreakClass(char32_t c) {
  const auto character = static_cast<UChar32>(c);
  // Marks that are younger than ICU's data.
  if (u_charType(character) == U_UNASSIGNED && CategorySet("M").contains(character)) {
    return U_GCB_EXTEND;
  }
  return u_getIntPropertyValue(character, UCHAR_GRAPHEME_CLUSTER_BREAK);
}

bool IsControl(int kind) { return kind == U_GCB_CONTROL || kind == U_GCB_CR || kind == U_GCB_LF; }

bool SyllableGoesOn(int before, int after) {
  switch (before) {
    case U_GCB_L:
      return after == U_GCB_L || after == U_GCB_V || after == U_GCB_LV || after == U_GCB_LVT;
    case U_GCB_LV:
    case U_GCB_V:
      return after == U_GCB_V || after == U_GCB_T;
    case U_GCB_LVT:
    case U_GCB_T:
      return after == U_GCB_T;
    default:
      return false;
  }
}

bool IsPicture(char32_t c) {
  return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_EXTENDED_PICTOGRAPHIC);
}

}  // namespace

size_t GraphemeEnd(std::string_view text, size_t begin) {
  const auto ascii = [&](size_t at) { return static_cast<unsigned char>(text[at]) < 0x80; };
  size_t at = begin;
  if (ascii(at) && text[at] != '\r' && (at + 1 == text.size() || ascii(at + 1))) return at + 1;
  const char32_t first = NextCharacter(text, &at);
  int before = BreakClass(first);
  if (before == U_GCB_CR) return at < text.size() && text[at] == '\n' ? at + 1 : at;
  if (IsControl(before)) return at;
  bool picture = IsPicture(first);  // then only Extend until here
  while (at < text.size()) {
    size_t next = at;
    const char32_t c = NextCharacter(text, &next);
    const int after = BreakClass(c);
    const bool extends = after == U_GCB_EXTEND || after == U_GCB_ZWJ || after == U_GCB_SPACING_MARK;
    const bool joined = picture && before == U_GCB_ZWJ && IsPicture(c);
    const bool prepended = before == U_GCB_PREPEND && !IsControl(after);
    if (!extends && !joined && !prepended && !SyllableGoesOn(before, after)) break;
    picture = IsPicture(c) ||
              (picture && before != U_GCB_ZWJ && (after == U_GCB_EXTEND || after == U_GCB_ZWJ));
    before = after;
    at = next;
  }
  return at;
}

}  // namespace shardline
