// The names that GGUF files give their pre-tokenizers (tokenizer.ggml.pre), in one table.
#pragma once

#include <memory>
#include <string_view>

#include "gateway/text/tokenizer/pre_tokenizers.h"
#include "shared/base/status.h"

namespace shardline {

struct GgufPreTokenizer {
  std::unique_ptr<PreTokenizer> pre_tokenizer;  // ends in the byte alphabet
  bool ignore_merges = false;
  bool add_bos = false;  // where tokenizer.ggml.add_bos_token is absent
};

// Errors: InvalidArgument naming a `name` that is not in the table.
absl::StatusOr<GgufPreTokenizer> GgufPreTokenizerNamed(std::string_view name);

}  // namespace shardline
