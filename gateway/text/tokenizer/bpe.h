// Byte-pair encoding of one word: characters become tokens, then the adjacent pair of the lowest
// rank (leftmost among equals) is merged until no pair can be.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/text/tokenizer/token_model.h"
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

class BpeModel final : public TokenModel {
 public:
  BpeModel(Vocabulary vocabulary, BpeOptions options);

  // Merges left + right with this rank; of equal pairs the last added counts. Errors:
  // InvalidArgument when one of the three strings is no token.
  absl::Status AddMerge(std::string_view left, std::string_view right, uint32_t rank);
  void AddMerge(uint32_t left, uint32_t right, uint32_t rank, uint32_t merged);
  void ReserveMerges(size_t count);

  std::unique_ptr<TokenModel::Workspace> NewWorkspace() const override;
  absl::Status Encode(std::string_view word, TokenModel::Workspace& workspace,
                      std::vector<uint32_t>& out) const override;
  // Words of SentencePiece vocabularies: cut before a "▁" that no token has inside.
  size_t IndependentPart(std::string_view text) const override;
  // To be called when all merges are there: finds out where IndependentPart may cut.
  void FindIndependentParts();

 private:
  struct Symbol {  // id kDead: merged away
    uint32_t id;
    int32_t previous, next;
  };
  struct Workspace;
  struct Merge {
    uint64_t pair;
    uint32_t rank, merged;
  };
  const Merge* Find(uint32_t left, uint32_t right) const;
  std::optional<uint32_t> CharacterToken(std::string_view word, size_t begin, size_t end) const;
  absl::Status Characters(std::string_view word, std::vector<Symbol>& symbols) const;
  void MergeShort(Workspace& workspace) const;
  void MergeLong(Workspace& workspace) const;

  BpeOptions options_;
  std::optional<uint32_t> unk_id_;
  std::array<int32_t, 256> byte_tokens_;    // <0xXX>; -1: none
  std::array<int32_t, 0x200> short_table_;  // tokens of the first characters, for speed
  std::vector<Merge> table_;                // open addressing, a power of two; pair kEmpty: free
  size_t merges_ = 0;
  bool cuts_ = false;                                  // may IndependentPart cut?
  absl::flat_hash_set<char32_t> joined_before_space_;  // characters before a "▁" inside a token
};

}  // namespace shardline
