#include "gateway/text/tokenizer/normalizers.h"

#include <absl/strings/escaping.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include "gateway/text/tokenizer/byte_alphabet.h"
#include "gateway/text/tokenizer/charsmap_normalizers.h"
#include "gateway/text/tokenizer/json_fields.h"
#include "gateway/text/tokenizer/unicode_data.h"
#include "gateway/text/utf8.h"
#include "shared/base/quoted.h"

namespace shardline {
namespace {

// Steps that multiply text could go on forever; the longest request is far shorter.
constexpr size_t kMaxTextBytes = size_t{128} << 20;

absl::Status CheckSize(const std::string& text) {
  if (text.size() <= kMaxTextBytes) return absl::OkStatus();
  return InvalidArgument("normalizer: the text grows to more than ", kMaxTextBytes, " bytes");
}

// Rewrites character by character: emit(c, out) appends what c becomes.
template <typename Emit>
void MapCharacters(std::string& text, size_t& origin, Emit emit) {
  std::string out;
  out.reserve(text.size());
  size_t new_origin = 0;
  for (size_t i = 0; i < text.size();) {
    const bool first = i < origin;
    emit(NextCharacter(text, &i), out);
    if (first) new_origin = out.size();
  }
  text = std::move(out);
  origin = new_origin;
}

class UnicodeForm final : public Normalizer {
 public:
  // The reference normalises with Unicode 9's data: younger characters stay as they are.
  explicit UnicodeForm(const icu::Normalizer2* form) : form_(*form, Age9()) {}

  absl::Status Apply(std::string& text, size_t& origin) const override {
    bool ascii = true;
    for (const char c : text) ascii &= static_cast<unsigned char>(c) < 0x80;
    if (ascii) return absl::OkStatus();
    SL_ASSIGN_OR_RETURN(const std::string first, Normalize(text.substr(0, origin)));
    SL_ASSIGN_OR_RETURN(text, Normalize(text));
    // A first character that took marks in has grown: it ends with a character of the result.
    origin = std::min(first.size(), text.size());
    while (origin < text.size() && (static_cast<unsigned char>(text[origin]) & 0xC0) == 0x80)
      ++origin;
    return absl::OkStatus();
  }

 private:
  static const icu::UnicodeSet& Age9() {
    static const icu::UnicodeSet set = [] {
      UErrorCode status = U_ZERO_ERROR;
      icu::UnicodeSet all(icu::UnicodeString::fromUTF8("[:Age=9.0:]"), status);
      all.freeze();
      return all;
    }();
    return set;
  }

  absl::StatusOr<std::string> Normalize(const std::string& text) const {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2& form = form_;
    const icu::UnicodeString result = form.normalize(icu::UnicodeString::fromUTF8(text), status);
    if (U_FAILURE(status))
      return InvalidArgument("text cannot be normalised: ", u_errorName(status));
    std::string out;
    result.toUTF8String(out);
    return out;
  }

  icu::FilteredNormalizer2 form_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  absl::Status Apply(std::string& text, size_t& origin) const override {
    if (text.empty()) return absl::OkStatus();
    text.insert(0, prefix_);
    if (origin > 0) origin += prefix_.size();
    return CheckSize(text);
  }

 private:
  std::string prefix_;
};

class Replace final : public Normalizer {
 public:
  Replace(Regex pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  absl::Status Apply(std::string& text, size_t& origin) const override {
    if (text.empty()) return absl::OkStatus();
    std::vector<TextRange> matches;
    SL_RETURN_IF_ERROR(pattern_.FindAll(text, matches));
    if (matches.empty()) return absl::OkStatus();
    std::string out;
    size_t last = 0, new_origin = 0;
    const auto copy_until = [&](size_t end) {
      out.append(text, last, end - last);
      if (last < origin) new_origin = out.size() - (end - std::min(end, origin));
    };
    for (const TextRange match : matches) {
      copy_until(match.begin);
      out += content_;
      SL_RETURN_IF_ERROR(CheckSize(out));
      if (match.end <= origin) new_origin = out.size();
      last = match.end;
    }
    copy_until(text.size());
    text = std::move(out);
    origin = new_origin;
    return absl::OkStatus();
  }

 private:
  Regex pattern_;
  std::string content_;
};

// Replace with a literal: what SentencePiece vocabularies do to every space.
class ReplaceLiteral final : public Normalizer {
 public:
  ReplaceLiteral(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  absl::Status Apply(std::string& text, size_t& origin) const override {
    size_t at = text.find(from_);
    if (at == std::string::npos) return absl::OkStatus();
    std::string out;
    out.reserve(text.size() + text.size() / 2);
    size_t last = 0, new_origin = origin;
    for (; at != std::string::npos; at = text.find(from_, last)) {
      out.append(text, last, at - last);
      out += to_;
      SL_RETURN_IF_ERROR(CheckSize(out));
      last = at + from_.size();
      if (last <= origin) new_origin = out.size() + (origin - last);
    }
    out.append(text, last);
    text = std::move(out);
    origin = std::min(new_origin, text.size());
    return absl::OkStatus();
  }

 private:
  std::string from_, to_;
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  absl::Status Apply(std::string& text, size_t& origin) const override {
    size_t begin = text.size(), end = 0;
    for (size_t i = 0; i < text.size();) {
      const size_t at = i;
      if (IsWhitespace(NextCharacter(text, &i))) continue;
      begin = std::min(begin, at);
      end = i;
    }
    if (begin == text.size()) {  // nothing but white space
      if (left_ || right_) text.clear();
      origin = std::min(origin, text.size());
      return absl::OkStatus();
    }
    if (right_) text.erase(end);
    if (left_) {
      text.erase(0, begin);
      origin -= std::min(origin, begin);
    }
    origin = std::min(origin, text.size());
    return absl::OkStatus();
  }

 private:
  bool left_, right_;
};

class Lowercase final : public Normalizer {
 public:
  absl::Status Apply(std::string& text, size_t& origin) const override {
    MapCharacters(text, origin, [](char32_t c, std::string& out) {
      if (c == 0x130) {
        out += "i\xCC\x87";  // the one character whose full lower case has two
      } else {
        AppendUtf8(out, ToLower(c));
      }
    });
    return absl::OkStatus();
  }
};

class StripAccents final : public Normalizer {
 public:
  absl::Status Apply(std::string& text, size_t& origin) const override {
    MapCharacters(text, origin, [](char32_t c, std::string& out) {
      if (!IsCombiningMark(c)) AppendUtf8(out, c);
    });
    return absl::OkStatus();
  }
};

// SentencePiece's nmt rules: control characters go, other white space becomes a space.
class Nmt final : public Normalizer {
 public:
  absl::Status Apply(std::string& text, size_t& origin) const override {
    MapCharacters(text, origin, [](char32_t c, std::string& out) {
      const bool dropped = (c >= 1 && c <= 8) || c == 0x0B || (c >= 0x0E && c <= 0x1F) ||
                           c == 0x7F || c == 0x8F || c == 0x9F;
      if (dropped) return;
      const bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                         (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 ||
                         c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
      AppendUtf8(out, space ? U' ' : c);
    });
    return absl::OkStatus();
  }
};

class ByteLevel final : public Normalizer {
 public:
  absl::Status Apply(std::string& text, size_t& origin) const override {
    std::string out;
    out.reserve(text.size() * 2);
    size_t new_origin = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      AppendByteAsCharacter(out, text[i]);
      if (i < origin) new_origin = out.size();
    }
    text = std::move(out);
    origin = new_origin;
    return absl::OkStatus();
  }
};

class Sequence final : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> parts) : parts_(std::move(parts)) {}
  absl::Status Apply(std::string& text, size_t& origin) const override {
    for (const auto& part : parts_) SL_RETURN_IF_ERROR(part->Apply(text, origin));
    return absl::OkStatus();
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

absl::StatusOr<std::unique_ptr<Normalizer>> MakeUnicodeForm(const std::string& type) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* form = type == "NFC"    ? icu::Normalizer2::getNFCInstance(status)
                                 : type == "NFD"  ? icu::Normalizer2::getNFDInstance(status)
                                 : type == "NFKC" ? icu::Normalizer2::getNFKCInstance(status)
                                                  : icu::Normalizer2::getNFKDInstance(status);
  if (U_FAILURE(status)) return Internal("ICU has no normalisation data: ", u_errorName(status));
  return std::make_unique<UnicodeForm>(form);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Normalizer>> ParseNormalizer(const nlohmann::json& json,
                                                            const std::string& path) {
  const JsonFields fields(json, path);
  SL_ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
  if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD")
    return MakeUnicodeForm(type);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "StripAccents") return std::make_unique<StripAccents>();
  if (type == "Nmt") return std::make_unique<Nmt>();
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "Precompiled") {
    SL_ASSIGN_OR_RETURN(const std::string encoded, fields.String("precompiled_charsmap"));
    std::string bytes;
    if (!absl::Base64Unescape(encoded, &bytes)) {
      return InvalidArgument(fields.Path("precompiled_charsmap"), " is not base64");
    }
    absl::StatusOr<Charsmap> map = Charsmap::Parse(bytes);
    if (!map.ok()) return Annotate(map.status(), path);
    return MakePrecompiled(*std::move(map));
  }
  if (type == "Strip") {
    SL_ASSIGN_OR_RETURN(const bool left, fields.Bool("strip_left"));
    SL_ASSIGN_OR_RETURN(const bool right, fields.Bool("strip_right"));
    return std::make_unique<Strip>(left, right);
  }
  if (type == "Prepend") {
    SL_ASSIGN_OR_RETURN(std::string prefix, fields.String("prepend"));
    return MakePrepend(std::move(prefix));
  }
  if (type == "Replace") {
    SL_ASSIGN_OR_RETURN(std::string content, fields.String("content"));
    const nlohmann::json* pattern = fields.Find("pattern");
    if (pattern != nullptr && pattern->is_object() && pattern->size() == 1 &&
        pattern->contains("String")) {
      const JsonFields literal(*pattern, fields.Path("pattern"));
      SL_ASSIGN_OR_RETURN(std::string from, literal.String("String"));
      if (!from.empty()) return MakeReplace(std::move(from), std::move(content));
    }
    SL_ASSIGN_OR_RETURN(Regex regex, fields.Pattern("pattern"));
    return std::make_unique<Replace>(std::move(regex), std::move(content));
  }
  if (type == "Sequence") {
    SL_ASSIGN_OR_RETURN(const nlohmann::json* list, fields.Array("normalizers"));
    std::vector<std::unique_ptr<Normalizer>> parts;
    for (size_t i = 0; i < list->size(); ++i) {
      SL_ASSIGN_OR_RETURN(auto part,
                          ParseNormalizer((*list)[i], ElementPath(path, "normalizers", i)));
      parts.push_back(std::move(part));
    }
    return MakeSequence(std::move(parts));
  }
  return InvalidArgument(fields.Path("type"), " ", Quoted(type), " is not supported");
}

std::unique_ptr<Normalizer> MakePrepend(std::string prefix) {
  return std::make_unique<Prepend>(std::move(prefix));
}
std::unique_ptr<Normalizer> MakeReplace(std::string from, std::string to) {
  return std::make_unique<ReplaceLiteral>(std::move(from), std::move(to));
}
std::unique_ptr<Normalizer> MakeSequence(std::vector<std::unique_ptr<Normalizer>> parts) {
  return std::make_unique<Sequence>(std::move(parts));
}

}  // namespace shardline
