#include "gateway/text/tokenizer/charsmap_normalizers.h"

#include "gateway/text/tokenizer/graphemes.h"
#include "gateway/text/utf8.h"

namespace shardline {
namespace {

constexpr size_t kWholeClusterBytes = 6;
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // "▁"

class Precompiled final : public Normalizer {
 public:
  explicit Precompiled(Charsmap map) : map_(std::move(map)) {}

  absl::Status Apply(std::string& text, size_t& origin) const override {
    std::string out;
    out.reserve(text.size() + text.size() / 8);
    size_t new_origin = 0;
    for (size_t i = 0; i < text.size();) {
      const bool first = i < origin;
      const size_t end = GraphemeEnd(text, i);
      AppendCluster(std::string_view(text).substr(i, end - i), out);
      if (first) new_origin = out.size();
      i = end;
    }
    text = std::move(out);
    origin = new_origin;
    return absl::OkStatus();
  }

 private:
  void AppendCluster(std::string_view cluster, std::string& out) const {
    if (cluster.size() < kWholeClusterBytes) {
      if (const auto match = map_.Shortest(cluster)) {
        out += match->replacement;
        return;
      }
    }
    for (size_t i = 0; i < cluster.size();) {
      const std::string_view character = cluster.substr(i, CharacterLength(cluster[i]));
      const auto match = map_.Shortest(character);
      out += match ? match->replacement : character;
      i += character.size();
    }
  }

  Charsmap map_;
};

class SentencePiece final : public Normalizer {
 public:
  explicit SentencePiece(SentencePieceRules rules) : rules_(std::move(rules)) {}

  absl::Status Apply(std::string& text, size_t& origin) const override {
    const bool trim = rules_.remove_extra_spaces;
    size_t at = 0;
    while (trim && at < text.size()) {
      const Charsmap::Match match = Next(text, at);
      if (match.replacement != " ") break;
      at += match.length;
    }
    std::string out;
    if (at < text.size()) {
      out.reserve(text.size() + text.size() / 2 + kSpaceMark.size());
      if (rules_.add_space_prefix) out += kSpaceMark;
      AppendRest(text, at, out);
      while (trim && out.ends_with(kSpaceMark)) out.resize(out.size() - kSpaceMark.size());
    }
    text = std::move(out);
    origin = std::min(origin, text.size());
    return absl::OkStatus();
  }

 private:
  Charsmap::Match Next(std::string_view text, size_t at) const {
    const std::string_view rest = text.substr(at);
    if (rules_.map) {
      if (const auto match = rules_.map->Longest(rest)) return *match;
    }
    const size_t length = CharacterLength(rest[0]);
    return {length, rest.substr(0, length)};
  }

  void AppendRest(std::string_view text, size_t at, std::string& out) const {
    bool behind_space = rules_.remove_extra_spaces;
    while (at < text.size()) {
      Charsmap::Match match = Next(text, at);
      std::string_view part = match.replacement;
      while (behind_space && part.starts_with(' ')) part.remove_prefix(1);
      for (const char byte : part) {
        if (byte == ' ') {
          out += kSpaceMark;
        } else {
          out.push_back(byte);
        }
      }
      if (!part.empty()) behind_space = rules_.remove_extra_spaces && part.ends_with(' ');
      at += match.length;
    }
  }

  SentencePieceRules rules_;
};

}  // namespace

std::unique_ptr<Normalizer> MakePrecompiled(Charsmap map) {
  return std::make_unique<Precompiled>(std::move(map));
}

std::unique_ptr<Normalizer> MakeSentencePieceNormalizer(SentencePieceRules rules) {
  return std::make_unique<SentencePiece>(std::move(rules));
}

}  // namespace shardline
