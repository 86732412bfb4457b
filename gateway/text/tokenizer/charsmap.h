// SentencePiece's precompiled_charsmap: which character sequences a vocabulary's normalisation
// replaces by what. A double array (Darts-clone's layout) of the sequences, then the replacements,
// each ended by a NUL.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shared/base/status.h"

namespace shardline {

class Charsmap {
 public:
  // Errors: InvalidArgument (sizes that do not fit, replacements that are not UTF-8).
  static absl::StatusOr<Charsmap> Parse(std::string_view bytes);

  struct Match {
    size_t length = 0;  // bytes of the text
    std::string_view replacement;
  };
  // Of the sequences that `text` begins with the longest (SentencePiece's rule) or the shortest.
  std::optional<Match> Longest(std::string_view text) const { return Search(text, true); }
  std::optional<Match> Shortest(std::string_view text) const { return Search(text, false); }

 private:
  std::optional<Match> Search(std::string_view text, bool longest) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace shardline
