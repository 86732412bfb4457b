// Byte-pair encoding of one word: characters become tokens, then the adjacent pair of the lowest
// rank (leftmost among equals) is merged until no pair can be. n log n in the word's length.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/text/tokenizer/vocabulary.h"
#include "shared/base/status.h"

namespace shardline {

struct BpeOptions {
  std::optional<std::string> unk_token;  // without one, unknown characters vanish
  std::string continuing_subword_prefix, end_of_word_suffix;
  bool fuse_unk = false;  // neighbouring unknown characters become one unk_token
  bool byte_fallback =
      false;  // unknown characters become <0xXX> tokens where the vocabulary has them
  bool ignore_merges = false;  // a word that is a token is that token
};

class BpeModel {
 public:
  BpeModel(Vocabulary vocabulary, BpeOptions options);

  // Merges left + right with this rank; of equal pairs the last added counts. Errors:
  // InvalidArgument when one of the three strings is no token.
  absl::Status AddMerge(std::string_view left, std::string_view right, uint32_t rank);
  void AddMerge(uint32_t left, uint32_t right, uint32_t rank, uint32_t merged);
  void ReserveMerges(size_t count);

  // Memory that one Encode call reuses for all its words.
  struct Workspace {
    struct Symbol {
      uint32_t id;
      int32_t previous, next;
    };  // id kDead: merged away
    struct Candidate {
      uint32_t rank;
      int32_t position;
      uint32_t merged;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
    std::vector<uint64_t> pairs;
  };
  // Appends the tokens of a non-empty, well-formed word. Errors: InvalidArgument (unk_token is no
  // token).
  absl::Status Encode(std::string_view word, Workspace& workspace,
                      std::vector<uint32_t>& out) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  const BpeOptions& options() const { return options_; }

 private:
  struct Merge {
    uint64_t pair;
    uint32_t rank, merged;
  };
  const Merge* Find(uint32_t left, uint32_t right) const;
  std::optional<uint32_t> CharacterToken(std::string_view word, size_t begin, size_t end) const;
  absl::Status Characters(std::string_view word, std::vector<Workspace::Symbol>& symbols) const;
  void MergeShort(Workspace& workspace) const;
  void MergeLong(Workspace& workspace) const;

  Vocabulary vocabulary_;
  BpeOptions options_;
  std::optional<uint32_t> unk_id_;
  std::array<int32_t, 256> byte_tokens_;    // <0xXX>; -1: none
  std::array<int32_t, 0x200> short_table_;  // tokens of the first characters, for speed
  std::vector<Merge> table_;                // open addressing, a power of two; pair kEmpty: free
  size_t merges_ = 0;
};

}  // namespace shardline
