// tokenizer.json "decoder": what a token stands for in running text. Decoders are run once per
// token when a vocabulary is loaded; what depends on a token's place in the text is in
// DecodedToken.
#pragma once

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/text/tokenizer/regex.h"
#include "shared/base/status.h"

namespace shardline {

class Decoder {
 public:
  // No decoder in the file: the reference puts spaces between tokens.
  static Decoder Spaces();
  static Decoder ByteLevel();
  // SentencePiece: "▁" is a space, <0xXX> a byte; the text's first space goes if
  // `strips_first_space`.
  static Decoder SentencePiece(bool strips_first_space);
  static absl::StatusOr<Decoder> Parse(const nlohmann::json& json, const std::string& path);

  // The bytes of a token in the middle of a text. Errors: InvalidArgument (a pattern at its
  // limits).
  absl::StatusOr<std::string> Bytes(std::string_view token) const;
  // Is the first space of a decoded text dropped?
  bool strips_first_space() const { return strips_first_space_; }
  // Are tokens written in the byte alphabet?
  bool byte_level() const {
    return std::any_of(steps_.begin(), steps_.end(),
                       [](const Step& step) { return step.kind == Kind::kByteLevel; });
  }

 private:
  enum class Kind {
    kByteLevel,
    kByteFallback,
    kReplace,
    kMetaspace,
    kWordPiece,
    kSuffix,
    kSpaces,
    kStrip
  };
  struct Step {
    Kind kind;
    std::string from{}, to{};  // kMetaspace, kSuffix: from → to; kWordPiece: from is the prefix
    std::optional<Regex> pattern{};  // kReplace: pattern → to
    bool cleanup = false;            // kWordPiece
    char32_t stripped = 0;           // kStrip
    uint32_t left = 0, right = 0;
  };
  absl::Status Add(const nlohmann::json& json, const std::string& path);

  std::vector<Step> steps_;
  bool strips_first_space_ = false;
  bool fused_ = false;  // behind Fuse (or ByteLevel): what follows sees the whole text
};

}  // namespace shardline
