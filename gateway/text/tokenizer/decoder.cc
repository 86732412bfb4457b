#include "gateway/text/tokenizer/decoder.h"

#include "gateway/text/tokenizer/byte_alphabet.h"
#include "gateway/text/tokenizer/json_fields.h"
#include "gateway/text/utf8.h"
#include "shared/base/quoted.h"

namespace shardline {
namespace {

constexpr size_t kMaxTokenBytes = 64 << 10;  // more only a step that multiplies can make

void ReplaceAll(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// Spaces that tokenization of English put before punctuation and contractions.
void CleanUp(std::string& text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) ReplaceAll(text, from, to);
}

// "<0x41>" → 0x41.
std::optional<unsigned char> ByteOfToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<unsigned char>(value);
}

std::string StripEnds(const std::string& text, char32_t stripped, uint32_t left, uint32_t right) {
  std::string unit;
  AppendUtf8(unit, stripped);
  size_t begin = 0, end = text.size();
  for (; left > 0 && text.compare(begin, unit.size(), unit) == 0; --left) begin += unit.size();
  for (; right > 0 && end >= begin + unit.size() &&
         text.compare(end - unit.size(), unit.size(), unit) == 0;
       --right) {
    end -= unit.size();
  }
  return text.substr(begin, end - begin);
}

}  // namespace

Decoder Decoder::Spaces() {
  Decoder decoder;
  decoder.steps_.push_back({.kind = Kind::kSpaces});
  decoder.strips_first_space_ = true;
  return decoder;
}

Decoder Decoder::ByteLevel() {
  Decoder decoder;
  decoder.steps_.push_back({.kind = Kind::kByteLevel});
  return decoder;
}

Decoder Decoder::SentencePiece(bool strips_first_space) {
  Decoder decoder;
  decoder.steps_.push_back({.kind = Kind::kMetaspace, .from = "\xE2\x96\x81", .to = " "});
  decoder.steps_.push_back({.kind = Kind::kByteFallback});
  decoder.strips_first_space_ = strips_first_space;
  return decoder;
}

absl::StatusOr<Decoder> Decoder::Parse(const nlohmann::json& json, const std::string& path) {
  Decoder decoder;
  SL_RETURN_IF_ERROR(decoder.Add(json, path));
  return decoder;
}

absl::Status Decoder::Add(const nlohmann::json& json, const std::string& path) {
  const JsonFields fields(json, path);
  SL_ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
  if (type == "Sequence") {
    SL_ASSIGN_OR_RETURN(const nlohmann::json* list, fields.Array("decoders"));
    for (size_t i = 0; i < list->size(); ++i) {
      SL_RETURN_IF_ERROR(Add((*list)[i], ElementPath(path, "decoders", i)));
    }
    return absl::OkStatus();
  }
  if (type == "Fuse") {
    fused_ = true;
    return absl::OkStatus();
  }
  if (type == "Strip") {
    SL_ASSIGN_OR_RETURN(const char32_t stripped, fields.Character("content"));
    SL_ASSIGN_OR_RETURN(const uint32_t left, fields.Uint("start"));
    SL_ASSIGN_OR_RETURN(const uint32_t right, fields.Uint("stop"));
    if (!fused_) {
      steps_.push_back({.kind = Kind::kStrip, .stripped = stripped, .left = left, .right = right});
      return absl::OkStatus();
    }
    // On the whole text only SentencePiece's dummy space can be taken off a stream.
    if (left > 1 || right > 0 || (left == 1 && stripped != ' ')) {
      return InvalidArgument(path,
                             ": stripping other than one space at the start is not supported");
    }
    strips_first_space_ |= left == 1;
    return absl::OkStatus();
  }
  if (fused_)
    return InvalidArgument(fields.Path("type"), " ", Quoted(type), " behind Fuse is not supported");
  if (type == "ByteLevel") {
    steps_.push_back({.kind = Kind::kByteLevel});
    fused_ = true;
  } else if (type == "ByteFallback") {
    steps_.push_back({.kind = Kind::kByteFallback});
  } else if (type == "Replace") {
    SL_ASSIGN_OR_RETURN(std::string content, fields.String("content"));
    SL_ASSIGN_OR_RETURN(Regex pattern, fields.Pattern("pattern"));
    steps_.push_back(
        {.kind = Kind::kReplace, .to = std::move(content), .pattern = std::move(pattern)});
  } else if (type == "Metaspace") {
    SL_ASSIGN_OR_RETURN(const char32_t mark, fields.Character("replacement"));
    SL_ASSIGN_OR_RETURN(const std::optional<std::string> scheme,
                        fields.OptionalString("prepend_scheme"));
    SL_ASSIGN_OR_RETURN(const bool add_prefix_space, fields.Bool("add_prefix_space", true));
    std::string from;
    AppendUtf8(from, mark);
    steps_.push_back({.kind = Kind::kMetaspace, .from = std::move(from), .to = " "});
    strips_first_space_ |= add_prefix_space && (!scheme || *scheme != "never");
  } else if (type == "WordPiece") {
    SL_ASSIGN_OR_RETURN(std::string prefix, fields.String("prefix"));
    SL_ASSIGN_OR_RETURN(const bool cleanup, fields.Bool("cleanup"));
    steps_.push_back({.kind = Kind::kWordPiece, .from = std::move(prefix), .cleanup = cleanup});
    strips_first_space_ = true;
  } else if (type == "BPEDecoder") {
    SL_ASSIGN_OR_RETURN(std::string suffix, fields.String("suffix"));
    steps_.push_back({.kind = Kind::kSuffix, .from = std::move(suffix), .to = " "});
  } else {
    return InvalidArgument(fields.Path("type"), " ", Quoted(type), " is not supported");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Decoder::Bytes(std::string_view token) const {
  std::string text(token);
  const auto too_long = [&token] {
    return InvalidArgument("decoder: token ", Quoted(token, 40), " becomes longer than ",
                           kMaxTokenBytes, " bytes");
  };
  for (const Step& step : steps_) {
    if (text.size() > kMaxTokenBytes) return too_long();
    switch (step.kind) {
      case Kind::kByteLevel:
        if (auto bytes = BytesOfCharacters(text)) text = *std::move(bytes);
        break;
      case Kind::kByteFallback:
        if (const auto byte = ByteOfToken(text)) return std::string(1, static_cast<char>(*byte));
        break;
      case Kind::kReplace: {
        std::vector<TextRange> matches;
        if (!text.empty()) SL_RETURN_IF_ERROR(step.pattern->FindAll(text, matches));
        std::string out;
        size_t last = 0;
        for (const TextRange match : matches) {
          out.append(text, last, match.begin - last).append(step.to);
          last = match.end;
          if (out.size() > kMaxTokenBytes) return too_long();
        }
        text = out.append(text, last);
        break;
      }
      case Kind::kMetaspace:
      case Kind::kSuffix:
        ReplaceAll(text, step.from, step.to);
        break;
      case Kind::kWordPiece:
        if (!step.from.empty() && text.starts_with(step.from)) {
          text.erase(0, step.from.size());
        } else {
          text = Cat(" ", text);
        }
        if (step.cleanup) CleanUp(text);
        break;
      case Kind::kSpaces:
        text = Cat(" ", text);
        break;
      case Kind::kStrip:
        text = StripEnds(text, step.stripped, step.left, step.right);
        break;
    }
  }
  return text;
}

}  // namespace shardline
