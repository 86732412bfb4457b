// tokenizer.json "pre_tokenizer": cuts pieces of text into the words that the model works on.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gateway/text/tokenizer/piece.h"
#include "gateway/text/tokenizer/regex.h"
#include "shared/base/status.h"

namespace shardline {

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Replaces each piece that has no token yet by its parts, empty ones left out.
  virtual absl::Status Apply(std::vector<Piece>& pieces, Arena& arena) const = 0;
};

// Errors: InvalidArgument naming the path and the type that is not understood.
absl::StatusOr<std::unique_ptr<PreTokenizer>> ParsePreTokenizer(const nlohmann::json& json,
                                                                const std::string& path);

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

std::unique_ptr<PreTokenizer> MakeSplit(Regex pattern, SplitBehavior behavior, bool invert);
std::unique_ptr<PreTokenizer> MakeDigits(bool individual);
// With `use_regex` words are GPT-2's. Errors: none but a broken PCRE2.
absl::StatusOr<std::unique_ptr<PreTokenizer>> MakeByteLevel(bool add_prefix_space, bool use_regex);
std::unique_ptr<PreTokenizer> MakeSequence(std::vector<std::unique_ptr<PreTokenizer>> parts);

}  // namespace shardline
