// SentencePiece's Unigram model: of all ways to cut a word into pieces the one with the highest sum
// of scores (Viterbi). Linear in the word's length; ties go to the piece found first, that is to
// the one that begins first.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "gateway/text/tokenizer/byte_trie.h"
#include "gateway/text/tokenizer/token_model.h"

namespace shardline {

struct UnigramOptions {
  std::optional<uint32_t> unk_id;  // without one, an unknown character is an error
  double unk_score = 0;            // of one unknown character
  bool byte_fallback = false;      // a run of unknown characters becomes <0xXX> tokens
};

class UnigramModel final : public TokenModel {
 public:
  struct Piece {
    uint32_t id;
    double score;
  };
  // `pieces` are the tokens that text may become: what control tokens are spelt like is not among
  // them. Of pieces with the same text the last one counts. Errors: InvalidArgument (too large).
  static absl::StatusOr<std::unique_ptr<UnigramModel>> Create(Vocabulary vocabulary,
                                                              const std::vector<Piece>& pieces,
                                                              UnigramOptions options);

  std::unique_ptr<TokenModel::Workspace> NewWorkspace() const override;
  absl::Status Encode(std::string_view word, TokenModel::Workspace& workspace,
                      std::vector<uint32_t>& out) const override;

 private:
  struct Workspace;
  UnigramModel(Vocabulary vocabulary, UnigramOptions options);
  absl::Status FindBestPath(std::string_view word, Workspace& space) const;
  void AppendUnknown(std::string_view run, std::vector<uint32_t>& reversed) const;

  UnigramOptions options_;
  std::vector<Piece> pieces_;  // the trie's values index this
  ByteTrie trie_;
  std::array<int32_t, 256> byte_tokens_;  // <0xXX>; -1: none
  size_t window_ = 0;                     // a power of two, larger than any piece
};

}  // namespace shardline
