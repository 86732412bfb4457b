// tokenizer.json "normalizer": rewrites a piece of text before added tokens with normalized=true
// are looked for and before pre-tokenization.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gateway/text/tokenizer/regex.h"
#include "shared/base/status.h"

namespace shardline {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // Rewrites well-formed `text` in place; `origin` is Piece::origin and moves along.
  virtual absl::Status Apply(std::string& text, size_t& origin) const = 0;
};

// `json` is the object in the file at `path` ("normalizer", "normalizer.normalizers[2]").
// Errors: InvalidArgument naming the path and the type that is not understood.
absl::StatusOr<std::unique_ptr<Normalizer>> ParseNormalizer(const nlohmann::json& json,
                                                            const std::string& path);

std::unique_ptr<Normalizer> MakePrepend(std::string prefix);
std::unique_ptr<Normalizer> MakeReplace(std::string from, std::string to);
std::unique_ptr<Normalizer> MakeSequence(std::vector<std::unique_ptr<Normalizer>> parts);

}  // namespace shardline
