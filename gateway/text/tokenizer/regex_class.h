// Sets of characters in patterns: \p{…}, \w, [[:alpha:]], [a-z&&[^aeiou]]. Used by regex_syntax.cc.
#pragma once

#include <unicode/uniset.h>

#include <string>
#include <string_view>

#include "shared/base/status.h"

namespace shardline {

// A set in two forms: exact, and as the inside of a PCRE2 class where that can say it in short
// (\p{L} rather than 650 ranges: PCRE2 looks properties up, but walks ranges one by one).
struct RegexSet {
  icu::UnicodeSet set;
  std::string symbolic;  // empty: write the ranges of `set`

  void Add(const RegexSet& other);
  // The whole PCRE2 class, brackets included.
  std::string ToClass(bool negated) const;
};

RegexSet RangeSet(char32_t first, char32_t last);
// \s \w \d \h and their capitals; `letter` is one of those. \w is a little smaller inside [...].
RegexSet EscapeSet(char letter, bool in_class);
// What stands in \p{…} or [:…:]. Errors: InvalidArgument for an unknown name.
absl::StatusOr<RegexSet> PropertySet(std::string_view name, bool negated, bool posix_bracket);
// [...] with pattern[*at] behind its '['; moves *at behind its ']'.
absl::StatusOr<RegexSet> ParseClass(std::string_view pattern, size_t* at, int depth, bool* negated);
// Behind a backslash, inside a class or outside: characters written as escapes (\n \t \x41 \x{…}
// \u…). pattern[*at] is the letter; moves *at behind the escape. Errors: InvalidArgument.
absl::StatusOr<char32_t> ParseCharacterEscape(std::string_view pattern, size_t* at);

}  // namespace shardline
