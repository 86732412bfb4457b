// RWKV's World vocabulary: at each place the longest token that the text goes on with, in bytes.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/text/tokenizer/byte_trie.h"
#include "gateway/text/tokenizer/token_model.h"

namespace shardline {

class RwkvModel final : public TokenModel {
 public:
  // `vocabulary` holds the tokens' bytes, `matched` the ids that text may become. A byte that no
  // token begins with becomes `unk_id`; without one it vanishes. Errors: InvalidArgument (too
  // large).
  static absl::StatusOr<std::unique_ptr<RwkvModel>> Create(Vocabulary vocabulary,
                                                           const std::vector<uint32_t>& matched,
                                                           std::optional<uint32_t> unk_id);

  std::unique_ptr<Workspace> NewWorkspace() const override { return std::make_unique<Workspace>(); }
  absl::Status Encode(std::string_view word, Workspace& workspace,
                      std::vector<uint32_t>& out) const override;

 private:
  RwkvModel(Vocabulary vocabulary, std::optional<uint32_t> unk_id)
      : TokenModel(std::move(vocabulary)), unk_id_(unk_id) {}

  std::optional<uint32_t> unk_id_;
  ByteTrie trie_;
};

// The bytes of a token as GGUF files write it: the inside of a Python bytes literal ("\xe4\n").
// nullopt: not one.
std::optional<std::string> BytesOfPythonLiteral(std::string_view text);

}  // namespace shardline
