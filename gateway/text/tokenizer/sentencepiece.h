// Vocabularies of SentencePiece's kinds, wherever they were read: tokens with a type and a score
// each.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "gateway/text/tokenizer/bpe.h"
#include "gateway/text/tokenizer/unigram.h"

namespace shardline {

// Values of GGUF's tokenizer.ggml.token_type, those above 0 also of SentencePiece's own files.
enum TokenType : int64_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct PieceTable {  // by id; all of one length
  std::span<const std::string_view> tokens;
  std::span<const int64_t> types;
  std::span<const double> scores;
};

// A token is the merge of any two tokens that it is made of; higher scores merge first. Errors:
// InvalidArgument (tokens too long to find merges in).
absl::Status AddMergesOfScores(const PieceTable& table, BpeModel& model);
// BPE with byte fallback. The vocabulary has the table's tokens.
absl::StatusOr<std::unique_ptr<TokenModel>> BpeOfPieces(Vocabulary vocabulary,
                                                        const PieceTable& table,
                                                        std::optional<std::string> unk_token);
absl::StatusOr<std::unique_ptr<TokenModel>> UnigramOfPieces(Vocabulary vocabulary,
                                                            const PieceTable& table,
                                                            std::optional<uint32_t> unk_id);

}  // namespace shardline
