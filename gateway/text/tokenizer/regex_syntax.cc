#include "gateway/text/tokenizer/regex_syntax.h"

#include <charconv>

#include "gateway/text/tokenizer/regex_class.h"
#include "gateway/text/utf8.h"
#include "shared/base/quoted.h"

namespace shardline {
namespace {

constexpr int kMaxGroupDepth = 100;
constexpr int kMaxQuantifiers = 16;  // on one atom: each wraps what is before it
// What PCRE2 compiles is smaller by far; sets may be written as hundreds of ranges.
constexpr size_t kMaxTranslatedBytes = size_t{4} << 20;

// A recursive descent over the pattern that writes PCRE2 as it goes.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  absl::StatusOr<std::string> Run() {
    SL_ASSIGN_OR_RETURN(std::string out, Alternatives(0));
    if (i_ < in_.size()) return InvalidArgument("')' without '(' at byte ", i_);
    return out;
  }

 private:
  bool At(std::string_view what) const { return in_.substr(i_).starts_with(what); }

  // Up to the ')' that closes this group (not consumed) or the end.
  absl::StatusOr<std::string> Alternatives(int depth) {
    if (depth > kMaxGroupDepth) return InvalidArgument("groups nested too deeply");
    const bool extended = extended_;
    std::string out;
    while (i_ < in_.size() && in_[i_] != ')') {
      if (in_[i_] == '|') {
        out += '|';
        ++i_;
        continue;
      }
      if (SkippedInExtended()) continue;
      SL_ASSIGN_OR_RETURN(std::string atom, Atom(depth));
      if (!atom.empty()) {
        SL_ASSIGN_OR_RETURN(atom, Quantified(std::move(atom)));
      }
      out += atom;
      if (out.size() > kMaxTranslatedBytes) return InvalidArgument("the pattern is too large");
    }
    extended_ = extended;
    return out;
  }

  bool SkippedInExtended() {
    if (!extended_) return false;
    if (std::string_view(" \t\n\r\f\v").find(in_[i_]) != std::string_view::npos) {
      ++i_;
      return true;
    }
    if (in_[i_] != '#') return false;
    i_ = std::min(in_.size(), in_.find('\n', i_));
    return true;
  }

  absl::StatusOr<std::string> Atom(int depth) {
    const char c = in_[i_];
    if (c == '(') return Group(depth);
    if (c == '[') {
      ++i_;
      bool negated = false;
      SL_ASSIGN_OR_RETURN(const RegexSet set, ParseClass(in_, &i_, 0, &negated));
      return set.ToClass(negated);
    }
    if (c == '\\') return Escape();
    if (c == '.' || c == '^' || c == '$') {
      ++i_;
      return std::string(1, c);
    }
    if (c == '*' || c == '+' || c == '?') return InvalidArgument("nothing to repeat at byte ", i_);
    return Literal(NextCharacter(in_, &i_));
  }

  static std::string Literal(char32_t c) {
    std::string out;
    const bool plain =
        c >= 0x80 || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    if (plain) {
      AppendUtf8(out, c);
      return out;
    }
    char digits[8];
    const auto end = std::to_chars(digits, digits + 8, static_cast<uint32_t>(c), 16).ptr;
    return Cat("\\x{", std::string_view(digits, end - digits), "}");
  }

  absl::StatusOr<std::string> Escape() {
    if (++i_ >= in_.size()) return InvalidArgument("pattern ends in a backslash");
    const char letter = in_[i_];
    if (std::string_view("swdhSWDH").find(letter) != std::string_view::npos) {
      ++i_;
      const bool capital = letter < 'a';
      return EscapeSet(capital ? static_cast<char>(letter | 0x20) : letter, false).ToClass(capital);
    }
    switch (letter) {
      case 'p':
      case 'P': {
        const size_t end = in_.find('}', i_);
        if (i_ + 1 >= in_.size() || in_[i_ + 1] != '{' || end == std::string_view::npos) {
          return InvalidArgument("\\", letter, " without {…} at byte ", i_);
        }
        std::string_view name = in_.substr(i_ + 2, end - i_ - 2);
        bool negated = letter == 'P';
        if (name.starts_with('^')) {
          name.remove_prefix(1);
          negated = !negated;
        }
        i_ = end + 1;
        SL_ASSIGN_OR_RETURN(const RegexSet set, PropertySet(name, false, false));
        return set.ToClass(negated);
      }
      case 'b':
      case 'B': {
        ++i_;
        const std::string word = EscapeSet('w', false).ToClass(false);
        if (letter == 'b') {
          return Cat("(?:(?<=", word, ")(?!", word, ")|(?<!", word, ")(?=", word, "))");
        }
        return Cat("(?:(?<=", word, ")(?=", word, ")|(?<!", word, ")(?!", word, "))");
      }
      case 'A':
      case 'z':
      case 'Z':
      case 'R':
      case 'X':
      case 'K':
        ++i_;
        return Cat("\\", letter);
      case 'G':
      case 'y':
      case 'Y':
      case 'O':
      case 'N':
        return InvalidArgument("escape \\", letter, " at byte ", i_, " is not supported");
      case 'k':
      case 'g': {
        const size_t end = in_.find('>', i_);
        if (i_ + 1 >= in_.size() || in_[i_ + 1] != '<' || end == std::string_view::npos) {
          return InvalidArgument("\\", letter, " without <…> at byte ", i_);
        }
        const std::string_view reference = in_.substr(i_ + 1, end - i_);
        i_ = end + 1;
        return Cat("\\", letter, reference);
      }
      default:
        break;
    }
    if (letter >= '1' && letter <= '9') {
      const size_t begin = i_;
      while (i_ < in_.size() && in_[i_] >= '0' && in_[i_] <= '9') ++i_;
      return Cat("\\g{", in_.substr(begin, i_ - begin), "}");
    }
    SL_ASSIGN_OR_RETURN(const char32_t c, ParseCharacterEscape(in_, &i_));
    return Literal(c);
  }

  absl::StatusOr<std::string> Group(int depth) {
    std::string opening = "(";
    if (At("(?#")) {
      const size_t end = in_.find(')', i_);
      if (end == std::string_view::npos) return InvalidArgument("comment without ')'");
      i_ = end + 1;
      return std::string();
    }
    bool found = false;
    for (const std::string_view kind : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"}) {
      if (!At(kind)) continue;
      opening = kind;
      i_ += kind.size();
      found = true;
      break;
    }
    if (!found && At("(?<")) {
      const size_t end = in_.find('>', i_);
      if (end == std::string_view::npos) return InvalidArgument("group name without '>'");
      opening = in_.substr(i_, end + 1 - i_);
      i_ = end + 1;
    } else if (!found && At("(?")) {
      return Options(depth);
    } else if (!found) {
      ++i_;
    }
    SL_ASSIGN_OR_RETURN(const std::string inside, Alternatives(depth + 1));
    if (i_ >= in_.size()) return InvalidArgument("'(' without ')'");
    ++i_;
    return Cat(opening, inside, ")");
  }

  // (?i-mx) and (?i-mx:…). Ruby's m is what PCRE2 calls s; x is resolved here. Ruby's isolated (?i)
  // reaches over the rest of the group, alternatives included, as one alternative of it.
  absl::StatusOr<std::string> Options(int depth) {
    i_ += 2;
    std::string on, off;
    bool negative = false, extended = extended_;
    while (i_ < in_.size() && in_[i_] != ')' && in_[i_] != ':') {
      const char c = in_[i_++];
      if (c == '-') {
        negative = true;
      } else if (c == 'i' || c == 'm') {
        (negative ? off : on).push_back(c == 'm' ? 's' : 'i');
      } else if (c == 'x') {
        extended = !negative;
      } else {
        return InvalidArgument("group option ", Quoted(std::string_view(&c, 1)),
                               " is not supported");
      }
    }
    if (i_ >= in_.size()) return InvalidArgument("'(?' without ')'");
    const bool isolated = in_[i_++] == ')';
    const bool outer = extended_;
    extended_ = extended;
    SL_ASSIGN_OR_RETURN(const std::string inside, Alternatives(depth + 1));
    extended_ = outer;
    if (!isolated) {
      if (i_ >= in_.size()) return InvalidArgument("'(' without ')'");
      ++i_;
    }
    return Cat("(?", on, off.empty() ? "" : "-", off, ":", inside, ")");
  }

  // {n}, {n,}, {,m}, {n,m} as PCRE2 writes them; empty where the brace is a literal.
  std::string Interval(bool* fixed) {
    size_t at = i_ + 1;
    const auto number = [&] {
      const size_t begin = at;
      while (at < in_.size() && in_[at] >= '0' && in_[at] <= '9') ++at;
      return in_.substr(begin, at - begin);
    };
    const std::string_view low = number();
    std::string_view high;
    const bool comma = at < in_.size() && in_[at] == ',';
    if (comma) {
      ++at;
      high = number();
    }
    if (at >= in_.size() || in_[at] != '}' || (low.empty() && high.empty())) return {};
    i_ = at + 1;
    *fixed = !comma;
    if (!comma) return Cat("{", low, "}");
    return Cat("{", low.empty() ? std::string_view("0") : low, ",", high, "}");
  }

  absl::StatusOr<std::string> Quantified(std::string atom) {
    int quantifiers = 0;
    while (i_ < in_.size()) {
      while (i_ < in_.size() && SkippedInExtended()) {
      }
      if (i_ >= in_.size()) break;
      const char c = in_[i_];
      std::string quantifier;
      if (c == '*' || c == '+' || c == '?') {
        quantifier = c;
        ++i_;
        // Lazy and possessive forms.
        if (i_ < in_.size() && (in_[i_] == '?' || in_[i_] == '+')) quantifier += in_[i_++];
      } else if (c == '{') {
        bool fixed = false;
        quantifier = Interval(&fixed);
        if (quantifier.empty()) break;
        // {n,m}? is lazy, but {n}? is optional and {n,m}+ repeats: quantifiers of their own.
        if (!fixed && i_ < in_.size() && in_[i_] == '?') quantifier += in_[i_++];
      } else {
        break;
      }
      if (++quantifiers > kMaxQuantifiers)
        return InvalidArgument("too many quantifiers at byte ", i_);
      atom = quantifiers > 1 ? Cat("(?:", atom, ")", quantifier) : Cat(atom, quantifier);
    }
    return atom;
  }

  std::string_view in_;
  size_t i_ = 0;
  bool extended_ = false;
};

}  // namespace

absl::StatusOr<std::string> OnigurumaToPcre2(std::string_view pattern) {
  return Translator(pattern).Run();
}

std::string QuoteForRegex(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool plain = byte >= 0x80 || (byte >= '0' && byte <= '9') ||
                       ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z');
    if (!plain) out += '\\';
    out += text[i];
  }
  return out;
}

}  // namespace shardline
