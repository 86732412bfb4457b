// What turns one word (a piece that normalizer and pre-tokenizer have left) into tokens. One class
// per kind of vocabulary: bpe.h, unigram.h, rwkv.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/text/tokenizer/vocabulary.h"
#include "shared/base/status.h"

namespace shardline {

class TokenModel {
 public:
  // Memory that one Tokenizer::Encode call reuses for all its words; each model has its own kind.
  struct Workspace {
    virtual ~Workspace() = default;
  };

  explicit TokenModel(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  virtual ~TokenModel() = default;
  TokenModel(const TokenModel&) = delete;
  TokenModel& operator=(const TokenModel&) = delete;

  virtual std::unique_ptr<Workspace> NewWorkspace() const = 0;
  // Appends the tokens of a non-empty, well-formed word; `workspace` is from NewWorkspace of this
  // model. Errors: InvalidArgument (the vocabulary cannot express the word and has no unknown
  // token).
  virtual absl::Status Encode(std::string_view word, Workspace& workspace,
                              std::vector<uint32_t>& out) const = 0;
  // The bytes of the part of `text` that can be encoded apart from what follows it, with the same
  // result: at least 1, all of it where nothing is known.
  virtual size_t IndependentPart(std::string_view text) const { return text.size(); }

  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  Vocabulary vocabulary_;
};

}  // namespace shardline
