// Patterns of tokenizer files are written for Oniguruma (Ruby syntax); this build matches with
// PCRE2. Most of the syntax is shared. What differs is rewritten here: \h \s \w \v \b, character
// properties (and the Unicode version they come from), nested classes and &&, inline options,
// {n,m}+ and {,n}.
#pragma once

#include <string>
#include <string_view>

#include "shared/base/status.h"

namespace shardline {

// `pattern` (well-formed UTF-8) for pcre2_compile with UTF, MULTILINE and LF as the only newline.
// Errors: InvalidArgument naming the construct that has no translation.
absl::StatusOr<std::string> OnigurumaToPcre2(std::string_view pattern);

// A pattern that matches `text` itself.
std::string QuoteForRegex(std::string_view text);

}  // namespace shardline
