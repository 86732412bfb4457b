// Normalisation by a vocabulary's precompiled_charsmap: as tokenizer.json's "Precompiled" does it,
// and as SentencePiece itself does it, white space included.
#pragma once

#include <memory>
#include <optional>

#include "gateway/text/tokenizer/charsmap.h"
#include "gateway/text/tokenizer/normalizers.h"

namespace shardline {

// Grapheme clusters below 6 bytes are looked up whole, of others each character; a look-up takes
// the shortest sequence that matches and replaces all that was looked up.
std::unique_ptr<Normalizer> MakePrecompiled(Charsmap map);

struct SentencePieceRules {
  std::optional<Charsmap> map;  // the longest sequence at each place is replaced
  bool add_space_prefix = true;
  bool remove_extra_spaces = true;  // at both ends, and all but one of a run
};
// Afterwards every space is a "▁".
std::unique_ptr<Normalizer> MakeSentencePieceNormalizer(SentencePieceRules rules);

}  // namespace shardline
