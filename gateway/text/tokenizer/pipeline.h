// The one implementation of Tokenizer: added tokens → normalizer → pre-tokenizer → model →
// post-processor. tokenizer_json.cc and tokenizer_gguf.cc put its parts together.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/text/tokenizer/added_tokens.h"
#include "gateway/text/tokenizer/decoder.h"
#include "gateway/text/tokenizer/normalizers.h"
#include "gateway/text/tokenizer/post_processor.h"
#include "gateway/text/tokenizer/pre_tokenizers.h"
#include "gateway/text/tokenizer/token_model.h"
#include "gateway/text/tokenizer/tokenizer.h"

namespace shardline {

struct TokenizerParts {
  std::unique_ptr<Normalizer> normalizer;       // may be null
  std::unique_ptr<PreTokenizer> pre_tokenizer;  // may be null: the whole piece is one word
  std::unique_ptr<TokenModel> model;
  std::vector<AddedToken> added_tokens;  // ids below Vocabulary::kMaxId
  PostProcessor post_processor;
  Decoder decoder = Decoder::ByteLevel();
  int64_t bos_id = -1, eos_id = -1;
  std::vector<uint32_t> eos_ids;
};

class PipelineTokenizer final : public Tokenizer {
 public:
  // Errors: InvalidArgument (an added token that cannot be normalised, a template id without a
  // token).
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(TokenizerParts parts);

  absl::StatusOr<std::vector<uint32_t>> Encode(std::string_view text,
                                               const EncodeOptions& options) const override;
  std::string_view Raw(uint32_t id) const override;
  bool IsSpecial(uint32_t id) const override;
  bool StripsFirstSpace() const override { return parts_.decoder.strips_first_space(); }
  uint32_t size() const override { return static_cast<uint32_t>(raw_.size()); }
  int64_t bos_id() const override { return parts_.bos_id; }
  std::vector<uint32_t> eos_ids() const override { return parts_.eos_ids; }
  std::string_view bos_text() const override { return Literal(parts_.bos_id); }
  std::string_view eos_text() const override { return Literal(parts_.eos_id); }

 private:
  explicit PipelineTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {}
  absl::Status BuildTries();
  absl::Status BuildRaw();
  absl::Status Normalize(const EncodeOptions& options, std::string_view text,
                         std::vector<Piece>& pieces, Arena& arena) const;
  absl::Status EncodeWords(const std::vector<Piece>& pieces, std::vector<uint32_t>& ids) const;
  std::string_view Literal(int64_t id) const;

  TokenizerParts parts_;
  AddedTokenTrie raw_tokens_;         // looked for in the text as it is
  AddedTokenTrie normalized_tokens_;  // looked for in normalised text
  bool special_normalized_ = false;   // some of those are control tokens
  std::vector<std::string> raw_;      // by id
  std::vector<bool> special_;         // by id
};

}  // namespace shardline
