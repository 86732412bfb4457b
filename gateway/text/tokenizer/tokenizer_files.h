// The loaders behind LoadTokenizer, one per kind of file.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "gateway/text/tokenizer/tokenizer.h"

namespace shardline {

// The text of a tokenizer.json (no settings beside it). Errors: InvalidArgument naming the field.
absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromJson(std::string_view text);
// A tokenizer.json under any name, with tokenizer_config.json and special_tokens_map.json beside
// it.
absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromJsonFile(const std::string& path);
// A SentencePiece model or GLM-4's tiktoken file, with those and added_tokens.json beside it.
absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromModelFile(const std::string& path);

}  // namespace shardline
