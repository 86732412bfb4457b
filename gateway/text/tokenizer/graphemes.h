// Grapheme clusters (Unicode Standard Annex #29), as far as clusters of a few bytes go.
#pragma once

#include <cstddef>
#include <string_view>

namespace shardline {

// Where the extended grapheme cluster ends that begins at `begin` of well-formed text. Rules that
// only ever join clusters of 6 bytes and more with others (flags, Indic conjuncts) are left out:
// who asks treats all of those character by character.
size_t GraphemeEnd(std::string_view text, size_t begin);

}  // namespace shardline
