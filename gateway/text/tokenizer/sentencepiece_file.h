// SentencePiece's own files (tokenizer.model, spiece.model): one protobuf message, ModelProto of
// sentencepiece_model.proto. Its few fields that matter are read from the wire format by hand, so
// that every length is checked before use.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shared/base/status.h"

namespace shardline {

struct SentencePieceFile {
  // By id.
  std::vector<std::string_view> tokens;  // into the bytes that were parsed
  std::vector<double> scores;
  std::vector<int64_t> types;  // TokenType

  enum ModelType : int64_t { kUnigram = 1, kBpe = 2 };
  int64_t model_type = kUnigram;
  std::string_view unk_piece = "<unk>", bos_piece = "<s>", eos_piece = "</s>";
  std::string_view charsmap;  // normaliser's precompiled_charsmap; empty: text stays as it is
  bool add_dummy_prefix = true, remove_extra_whitespaces = true;
};

// Errors: InvalidArgument (no such message, a field of another type, tokens that are not UTF-8, a
// kind of model or a setting that is not supported).
absl::StatusOr<SentencePieceFile> ParseSentencePieceFile(std::string_view bytes);

}  // namespace shardline
