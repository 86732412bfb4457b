// Character sets as the reference tokenizers see them: Unicode 16. PCRE2 10.42 knows Unicode 14 and
// ICU 72 knows Unicode 15, so a table of the categories that changed since completes both.
#pragma once

#include <unicode/uniset.h>

#include <cstdint>
#include <span>
#include <string_view>

namespace shardline {

struct CategoryChange {
  char32_t first, last;
  const char* category;  // two letters, as in Unicode 16
  const char* before;    // as in Unicode 14 ("Cn": unassigned)
};
std::span<const CategoryChange> CategoryChanges();

// All characters whose general category starts with `category` ("L", "Nd", "C" without surrogates).
// An unknown category gives an empty set.
const icu::UnicodeSet& CategorySet(std::string_view category);

bool IsWhitespace(char32_t c);     // White_Space
bool IsNumeric(char32_t c);        // N
bool IsPunctuation(char32_t c);    // P, and ASCII's symbols
bool IsCombiningMark(char32_t c);  // M
bool IsWordCharacter(
    char32_t c);  // Alphabetic, M, Nd, Pc, joiners: what \w of a single_word token means
char32_t ToLower(char32_t c);  // simple mapping (U+0130 alone has a longer full one)

}  // namespace shardline
