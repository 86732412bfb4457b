// What a model's directory says of its tokenizer beside the vocabulary file: tokenizer_config.json,
// special_tokens_map.json and added_tokens.json, each where there is one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "gateway/text/tokenizer/pipeline.h"

namespace shardline {

struct TokenizerSettings {
  std::string tokenizer_class;  // without "Fast"
  std::string bos_token, eos_token;
  std::optional<bool> add_bos_token, add_eos_token;
  std::vector<AddedToken> added_tokens;       // added_tokens_decoder, by id
  std::vector<AddedToken> vocabulary_tokens;  // added_tokens.json: beside vocabularies of old kinds
};

// Errors: InvalidArgument "FILE: FIELD must be …".
absl::StatusOr<TokenizerSettings> ReadTokenizerSettings(const std::string& directory);

// The id of an added token or one of the vocabulary; -1 where there is none.
int64_t FindToken(const TokenizerParts& parts, std::string_view content);
// bos_token, eos_token and, for the classes that go by add_bos_token and add_eos_token whatever the
// vocabulary file has, those.
void ApplyEnds(const TokenizerSettings& settings, TokenizerParts& parts);

}  // namespace shardline
