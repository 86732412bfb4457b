#include "gateway/text/tokenizer/pre_tokenizers.h"

#include "gateway/text/tokenizer/byte_alphabet.h"
#include "gateway/text/tokenizer/json_fields.h"
#include "gateway/text/tokenizer/unicode_data.h"
#include "gateway/text/utf8.h"
#include "shared/base/quoted.h"

namespace shardline {
namespace {

constexpr std::string_view kGpt2Pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

struct Cut {
  size_t begin, end;
  bool match;
};

// Matches and what lies between them: together the whole (non-empty) text.
void CutsOfMatches(std::string_view text, const std::vector<TextRange>& matches,
                   std::vector<Cut>& cuts) {
  cuts.clear();
  size_t last = 0;
  for (const TextRange match : matches) {
    if (last != match.begin) cuts.push_back({last, match.begin, false});
    cuts.push_back({match.begin, match.end, true});
    last = match.end;
  }
  if (last != text.size()) cuts.push_back({last, text.size(), false});
}

// Every character that `is_match` accepts is a match of its own.
template <typename IsMatch>
void CutsOfCharacters(std::string_view text, IsMatch is_match, std::vector<Cut>& cuts) {
  cuts.clear();
  size_t last = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t at = i;
    if (!is_match(NextCharacter(text, &i))) continue;
    if (last < at) cuts.push_back({last, at, false});
    cuts.push_back({at, i, true});
    last = i;
  }
  if (last < text.size()) cuts.push_back({last, text.size(), false});
}

// Joins or drops cuts as `behavior` says and appends the parts of `piece`.
void AppendParts(const Piece& piece, std::vector<Cut>& cuts, SplitBehavior behavior,
                 std::vector<Piece>& out) {
  const auto append = [&](size_t begin, size_t end) {
    if (begin < end) out.push_back(piece.Part(begin, end));
  };
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const Cut& cut : cuts) append(cut.begin, cut.end);
      return;
    case SplitBehavior::kRemoved:
      for (const Cut& cut : cuts) {
        if (!cut.match) append(cut.begin, cut.end);
      }
      return;
    case SplitBehavior::kContiguous:
    case SplitBehavior::kMergedWithPrevious: {
      bool previous = false;
      size_t begin = 0, end = 0;
      for (const Cut& cut : cuts) {
        const bool joins =
            behavior == SplitBehavior::kContiguous ? cut.match == previous : cut.match && !previous;
        if (!joins) {
          append(begin, end);
          begin = cut.begin;
        }
        end = cut.end;
        previous = cut.match;
      }
      append(begin, end);
      return;
    }
    case SplitBehavior::kMergedWithNext: {
      // As above from the right: a match goes to the cut behind it.
      std::vector<TextRange> parts;
      bool next = false;
      for (size_t i = cuts.size(); i-- > 0;) {
        const Cut& cut = cuts[i];
        if (cut.match && !next && !parts.empty()) {
          parts.back().begin = cut.begin;
        } else {
          parts.push_back({cut.begin, cut.end});
        }
        next = cut.match;
      }
      for (size_t i = parts.size(); i-- > 0;) append(parts[i].begin, parts[i].end);
      return;
    }
  }
}

// Runs cut(piece, out) on the pieces that have no token yet.
template <typename CutPiece>
absl::Status ForEachText(std::vector<Piece>& pieces, CutPiece cut) {
  std::vector<Piece> out;
  out.reserve(pieces.size() * 2);
  for (const Piece& piece : pieces) {
    if (piece.token >= 0) {
      out.push_back(piece);
    } else {
      SL_RETURN_IF_ERROR(cut(piece, out));
    }
  }
  pieces = std::move(out);
  return absl::OkStatus();
}

class Split final : public PreTokenizer {
 public:
  Split(Regex pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  absl::Status Apply(std::vector<Piece>& pieces, Arena&) const override {
    std::vector<TextRange> matches;
    std::vector<Cut> cuts;
    return ForEachText(pieces, [&](const Piece& piece, std::vector<Piece>& out) {
      matches.clear();
      SL_RETURN_IF_ERROR(pattern_.FindAll(piece.text, matches));
      CutsOfMatches(piece.text, matches, cuts);
      if (invert_) {
        for (Cut& cut : cuts) cut.match = !cut.match;
      }
      AppendParts(piece, cuts, behavior_, out);
      return absl::OkStatus();
    });
  }

 private:
  Regex pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// Splits at characters with a property: Digits, Punctuation, WhitespaceSplit, CharDelimiterSplit.
template <typename IsMatch>
class SplitAtCharacters final : public PreTokenizer {
 public:
  SplitAtCharacters(IsMatch is_match, SplitBehavior behavior)
      : is_match_(is_match), behavior_(behavior) {}
  absl::Status Apply(std::vector<Piece>& pieces, Arena&) const override {
    std::vector<Cut> cuts;
    return ForEachText(pieces, [&](const Piece& piece, std::vector<Piece>& out) {
      CutsOfCharacters(piece.text, is_match_, cuts);
      AppendParts(piece, cuts, behavior_, out);
      return absl::OkStatus();
    });
  }

 private:
  IsMatch is_match_;
  SplitBehavior behavior_;
};

template <typename IsMatch>
std::unique_ptr<PreTokenizer> MakeSplitAt(IsMatch is_match, SplitBehavior behavior) {
  return std::make_unique<SplitAtCharacters<IsMatch>>(is_match, behavior);
}

// Runs of word characters and runs of what is neither word nor white space.
class Whitespace final : public PreTokenizer {
 public:
  absl::Status Apply(std::vector<Piece>& pieces, Arena&) const override {
    return ForEachText(pieces, [&](const Piece& piece, std::vector<Piece>& out) {
      int kind = 0;  // 0 white space, 1 word, 2 other
      size_t begin = 0;
      for (size_t i = 0; i <= piece.text.size();) {
        const size_t at = i;
        int next = 0;
        if (at < piece.text.size()) {
          const char32_t c = NextCharacter(piece.text, &i);
          next = IsWhitespace(c) ? 0 : IsWordCharacter(c) ? 1 : 2;
        } else {
          ++i;
        }
        if (next == kind) continue;
        if (kind != 0) out.push_back(piece.Part(begin, at));
        kind = next;
        begin = at;
      }
      return absl::OkStatus();
    });
  }
};

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, std::optional<Regex> pattern)
      : add_prefix_space_(add_prefix_space), pattern_(std::move(pattern)) {}
  absl::Status Apply(std::vector<Piece>& pieces, Arena& arena) const override {
    std::vector<TextRange> matches;
    std::vector<Cut> cuts;
    return ForEachText(pieces, [&](Piece piece, std::vector<Piece>& out) {
      if (add_prefix_space_ && !piece.text.starts_with(' ')) {
        std::string& spaced = arena.New();
        spaced.reserve(piece.text.size() + 1);
        spaced.append(" ").append(piece.text);
        piece.text = spaced;
        if (piece.origin > 0) ++piece.origin;
      }
      matches.clear();
      if (pattern_) {
        SL_RETURN_IF_ERROR(pattern_->FindAll(piece.text, matches));
        CutsOfMatches(piece.text, matches, cuts);
      } else {
        cuts.assign(1, {0, piece.text.size(), true});
      }
      std::string& mapped = arena.New();
      mapped.reserve(piece.text.size() * 2);  // so that views into it stay valid
      for (const Cut& cut : cuts) {
        const Piece raw = piece.Part(cut.begin, cut.end);
        const size_t begin = mapped.size();
        size_t origin = 0;
        for (size_t i = 0; i < raw.text.size(); ++i) {
          AppendByteAsCharacter(mapped, raw.text[i]);
          if (i < raw.origin) origin = mapped.size() - begin;
        }
        if (mapped.size() == begin) continue;
        Piece& part = out.emplace_back(raw);
        // Without a pattern the piece stays whole: it begins where it began.
        if (!pattern_) part.at_start = piece.at_start;
        part.text = std::string_view(mapped).substr(begin);
        part.origin = origin;
      }
      return absl::OkStatus();
    });
  }

 private:
  bool add_prefix_space_;
  std::optional<Regex> pattern_;
};

class Metaspace final : public PreTokenizer {
 public:
  enum class Prepend { kAlways, kFirst, kNever };
  Metaspace(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}
  absl::Status Apply(std::vector<Piece>& pieces, Arena& arena) const override {
    std::vector<Cut> cuts;
    size_t at = 0;
    const char32_t mark = NextCharacter(replacement_, &at);
    return ForEachText(pieces, [&](Piece piece, std::vector<Piece>& out) {
      std::string& text = arena.New();
      text.reserve(piece.text.size() * 2 + replacement_.size());
      size_t origin = 0;
      for (size_t i = 0; i < piece.text.size(); ++i) {
        if (piece.text[i] == ' ') {
          text += replacement_;
        } else {
          text.push_back(piece.text[i]);
        }
        if (i < piece.origin) origin = text.size();
      }
      const bool wanted =
          prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && piece.at_start);
      if (wanted && !text.starts_with(replacement_)) {
        text.insert(0, replacement_);
        if (origin > 0) origin += replacement_.size();
      }
      piece.text = text;
      piece.origin = origin;
      if (!split_) {
        out.push_back(piece);
        return absl::OkStatus();
      }
      CutsOfCharacters(
          piece.text, [mark](char32_t c) { return c == mark; }, cuts);
      AppendParts(piece, cuts, SplitBehavior::kMergedWithNext, out);
      return absl::OkStatus();
    });
  }

 private:
  std::string replacement_;
  Prepend prepend_;
  bool split_;
};

// Chunks of so many characters.
class FixedLength final : public PreTokenizer {
 public:
  explicit FixedLength(size_t length) : length_(length) {}
  absl::Status Apply(std::vector<Piece>& pieces, Arena&) const override {
    return ForEachText(pieces, [&](const Piece& piece, std::vector<Piece>& out) {
      for (size_t i = 0; i < piece.text.size();) {
        const size_t begin = i;
        for (size_t n = 0; n < length_ && i < piece.text.size(); ++n) NextCharacter(piece.text, &i);
        out.push_back(piece.Part(begin, i));
      }
      return absl::OkStatus();
    });
  }

 private:
  size_t length_;
};

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> parts) : parts_(std::move(parts)) {}
  absl::Status Apply(std::vector<Piece>& pieces, Arena& arena) const override {
    for (const auto& part : parts_) SL_RETURN_IF_ERROR(part->Apply(pieces, arena));
    return absl::OkStatus();
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

absl::StatusOr<SplitBehavior> ParseBehavior(const JsonFields& fields, const char* fallback) {
  SL_ASSIGN_OR_RETURN(const std::optional<std::string> given, fields.OptionalString("behavior"));
  if (!given && fallback == nullptr) return InvalidArgument(fields.Path("behavior"), " is missing");
  const std::string name = given ? *given : std::string(fallback);
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return InvalidArgument(fields.Path("behavior"), " ", Quoted(name), " is not supported");
}

absl::StatusOr<std::unique_ptr<PreTokenizer>> ParseMetaspace(const JsonFields& fields) {
  SL_ASSIGN_OR_RETURN(const char32_t mark, fields.Character("replacement"));
  SL_ASSIGN_OR_RETURN(const std::optional<std::string> scheme,
                      fields.OptionalString("prepend_scheme"));
  SL_ASSIGN_OR_RETURN(const bool add_prefix_space, fields.Bool("add_prefix_space", true));
  SL_ASSIGN_OR_RETURN(const bool split, fields.Bool("split", true));
  auto prepend = Metaspace::Prepend::kAlways;
  if (scheme && *scheme == "first") {
    prepend = Metaspace::Prepend::kFirst;
  } else if (scheme && *scheme == "never") {
    prepend = Metaspace::Prepend::kNever;
  } else if (scheme && *scheme != "always") {
    return InvalidArgument(fields.Path("prepend_scheme"), " ", Quoted(*scheme),
                           " is not supported");
  }
  if (!add_prefix_space) {
    if (prepend != Metaspace::Prepend::kNever) {
      return InvalidArgument(fields.Path("add_prefix_space"), " contradicts prepend_scheme");
    }
  }
  std::string replacement;
  AppendUtf8(replacement, mark);
  return std::make_unique<Metaspace>(std::move(replacement), prepend, split);
}

}  // namespace

absl::StatusOr<std::unique_ptr<PreTokenizer>> ParsePreTokenizer(const nlohmann::json& json,
                                                                const std::string& path) {
  const JsonFields fields(json, path);
  SL_ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
  if (type == "ByteLevel") {
    SL_ASSIGN_OR_RETURN(const bool add_prefix_space, fields.Bool("add_prefix_space"));
    SL_ASSIGN_OR_RETURN(const bool use_regex, fields.Bool("use_regex", true));
    return MakeByteLevel(add_prefix_space, use_regex);
  }
  if (type == "Split") {
    SL_ASSIGN_OR_RETURN(Regex pattern, fields.Pattern("pattern"));
    SL_ASSIGN_OR_RETURN(const SplitBehavior behavior, ParseBehavior(fields, nullptr));
    SL_ASSIGN_OR_RETURN(const bool invert, fields.Bool("invert"));
    return MakeSplit(std::move(pattern), behavior, invert);
  }
  if (type == "Digits") {
    SL_ASSIGN_OR_RETURN(const bool individual, fields.Bool("individual_digits"));
    return MakeDigits(individual);
  }
  if (type == "Punctuation") {
    SL_ASSIGN_OR_RETURN(const SplitBehavior behavior, ParseBehavior(fields, "Isolated"));
    return MakeSplitAt(&IsPunctuation, behavior);
  }
  if (type == "Whitespace") return std::make_unique<Whitespace>();
  if (type == "WhitespaceSplit") return MakeSplitAt(&IsWhitespace, SplitBehavior::kRemoved);
  if (type == "BertPreTokenizer") {
    std::vector<std::unique_ptr<PreTokenizer>> parts;
    parts.push_back(MakeSplitAt(&IsWhitespace, SplitBehavior::kRemoved));
    parts.push_back(MakeSplitAt(&IsPunctuation, SplitBehavior::kIsolated));
    return MakeSequence(std::move(parts));
  }
  if (type == "CharDelimiterSplit") {
    SL_ASSIGN_OR_RETURN(const char32_t delimiter, fields.Character("delimiter"));
    return MakeSplitAt([delimiter](char32_t c) { return c == delimiter; }, SplitBehavior::kRemoved);
  }
  if (type == "FixedLength") {
    SL_ASSIGN_OR_RETURN(const uint32_t length, fields.Uint("length", 5));
    if (length == 0) return InvalidArgument(fields.Path("length"), " must be at least 1");
    return std::make_unique<FixedLength>(length);
  }
  if (type == "Metaspace") return ParseMetaspace(fields);
  if (type == "Sequence") {
    SL_ASSIGN_OR_RETURN(const nlohmann::json* list, fields.Array("pretokenizers"));
    std::vector<std::unique_ptr<PreTokenizer>> parts;
    for (size_t i = 0; i < list->size(); ++i) {
      SL_ASSIGN_OR_RETURN(auto part,
                          ParsePreTokenizer((*list)[i], ElementPath(path, "pretokenizers", i)));
      parts.push_back(std::move(part));
    }
    return MakeSequence(std::move(parts));
  }
  return InvalidArgument(fields.Path("type"), " ", Quoted(type), " is not supported");
}

std::unique_ptr<PreTokenizer> MakeSplit(Regex pattern, SplitBehavior behavior, bool invert) {
  return std::make_unique<Split>(std::move(pattern), behavior, invert);
}

std::unique_ptr<PreTokenizer> MakeDigits(bool individual) {
  return MakeSplitAt(&IsNumeric,
                     individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
}

absl::StatusOr<std::unique_ptr<PreTokenizer>> MakeByteLevel(bool add_prefix_space, bool use_regex) {
  std::optional<Regex> pattern;
  if (use_regex) {
    SL_ASSIGN_OR_RETURN(pattern, Regex::Compile(kGpt2Pattern));
  }
  return std::make_unique<ByteLevel>(add_prefix_space, std::move(pattern));
}

std::unique_ptr<PreTokenizer> MakeSequence(std::vector<std::unique_ptr<PreTokenizer>> parts) {
  return std::make_unique<Sequence>(std::move(parts));
}

}  // namespace shardline
