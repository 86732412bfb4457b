#include "gateway/text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja {

namespace {

constexpr size_t kNone = std::string_view::npos;

// "\r\n" and "\r" become "\n"; one newline at the end of the template is dropped.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out.push_back(source[i]);
      continue;
    }
    out.push_back('\n');
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  return out;
}

bool IsDigitAt(std::string_view text, size_t at) {
  return at < text.size() && text[at] >= '0' && text[at] <= '9';
}

// The end of `(\d+_)*\d+` at `at`; `at` when there is none.
size_t EndOfDigits(std::string_view text, size_t at) {
  if (!IsDigitAt(text, at)) return at;
  while (true) {
    while (IsDigitAt(text, at)) ++at;
    if (at < text.size() && text[at] == '_' && IsDigitAt(text, at + 1)) {
      ++at;
    } else {
      return at;
    }
  }
}

// The end of a float literal at `at`, or `at`.
size_t EndOfFloat(std::string_view text, size_t at) {
  const size_t whole = EndOfDigits(text, at);
  if (whole == at || (at > 0 && text[at - 1] == '.')) return at;
  size_t end = whole;
  bool is_float = false;
  if (end < text.size() && text[end] == '.' && IsDigitAt(text, end + 1)) {
    end = EndOfDigits(text, end + 1);
    is_float = true;
  }
  if (end < text.size() && (text[end] | 32) == 'e') {
    size_t digits = end + 1;
    if (digits < text.size() && (text[digits] == '+' || text[digits] == '-')) ++digits;
    if (IsDigitAt(text, digits)) {
      end = EndOfDigits(text, digits);
      is_float = true;
    }
  }
  return is_float ? end : at;
}

// The end of an integer literal at `at`, or `at`.
size_t EndOfInteger(std::string_view text, size_t at) {
  if (!IsDigitAt(text, at)) return at;
  const auto run = [&](size_t from, auto accept) {
    size_t end = from;
    while (true) {
      size_t next = end;
      if (next < text.size() && text[next] == '_') ++next;
      if (next >= text.size() || !accept(text[next])) return end;
      end = next + 1;
    }
  };
  if (text[at] == '0' && at + 1 < text.size()) {
    const auto is_hex = [](char c) {
      return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f');
    };
    const char letter = static_cast<char>(text[at + 1] | 32);
    size_t end = at + 2;
    if (letter == 'b') end = run(at + 2, [](char c) { return c == '0' || c == '1'; });
    if (letter == 'o') end = run(at + 2, [](char c) { return c >= '0' && c <= '7'; });
    if (letter == 'x') end = run(at + 2, is_hex);
    if (end > at + 2) return end;
    return run(at + 1, [](char c) { return c == '0'; });
  }
  if (text[at] == '0') return at + 1;
  return run(at + 1, [](char c) { return c >= '0' && c <= '9'; });
}

size_t EndOfName(std::string_view text, size_t at) {
  size_t end = at;
  while (end < text.size()) {
    size_t next = end;
    const char32_t c = NextCodePoint(text, &next);
    if (!IsIdentifierPart(c) && !IsAlpha(c) && !IsNumeric(c)) break;
    end = next;
  }
  return end;
}

bool IsIdentifier(std::string_view name) {
  size_t offset = 0;
  if (!IsIdentifierStart(NextCodePoint(name, &offset))) return false;
  while (offset < name.size()) {
    if (!IsIdentifierPart(NextCodePoint(name, &offset))) return false;
  }
  return true;
}

constexpr std::array<std::string_view, 26> kOperators = {
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
    "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)), text_(source_) {}

  std::vector<Token> Run() {
    while (at_ < text_.size()) Root();
    Add(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void Fail(std::string message) const {
    throw Error{ErrorKind::kSyntax, std::move(message), line_};
  }
  char Peek(size_t at) const { return at < text_.size() ? text_[at] : '\0'; }

  void Add(TokenType type, std::string text) {
    Token token;
    token.type = type;
    token.line = line_;
    token.text = std::move(text);
    tokens_.push_back(std::move(token));
  }

  // Moves to `end`, counting lines.
  void Advance(size_t end) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<ptrdiff_t>(at_),
                                         text_.begin() + static_cast<ptrdiff_t>(end), '\n'));
    line_starting_ = end > at_ && text_[end - 1] == '\n';
    at_ = end;
  }

  // The end of a tag's closing "%}" or "#}" at `at` with its `+` or `-` and what it swallows; kNone
  // when there is none. A `+` is not allowed for the end of {% raw %}, nor is the newline trimmed.
  size_t EndOfTag(size_t at, std::string_view closing, bool plus, bool trim) const {
    if (Peek(at) == '-' && text_.substr(at + 1, 2) == closing) return SkipSpace(text_, at + 3);
    if (plus && Peek(at) == '+' && text_.substr(at + 1, 2) == closing) return at + 3;
    if (text_.substr(at, 2) != closing) return kNone;
    return trim && Peek(at + 2) == '\n' ? at + 3 : at + 2;
  }

  // The end of "{%- raw -%}" that begins at `at` (kNone: it is another tag); *sign: its '-' or '+'.
  size_t EndOfRawBegin(size_t at, char* sign) const {
    size_t inside = at + 2;
    *sign = Peek(inside) == '-' || Peek(inside) == '+' ? Peek(inside) : '\0';
    if (*sign != '\0') ++inside;
    inside = SkipSpace(text_, inside);
    if (text_.substr(inside, 3) != "raw") return kNone;
    return EndOfTag(SkipSpace(text_, inside + 3), "%}", false, false);
  }

  // Where the data before a tag at `tag` ends once whitespace control has been applied.
  size_t EndOfData(size_t begin, size_t tag, char sign, bool variable) const {
    if (sign == '-') {
      const size_t end = SkipSpaceBackwards(text_.substr(0, tag), tag);
      return std::max(begin, end);
    }
    if (sign == '+' || variable) return tag;
    size_t line_begin = tag;
    while (line_begin > begin && text_[line_begin - 1] != '\n') --line_begin;
    if (line_begin == begin && !line_starting_) return tag;
    return SkipSpace(text_.substr(0, tag), line_begin) == tag ? line_begin : tag;
  }

  void AddData(size_t begin, size_t end) {
    if (end > begin) Add(TokenType::kData, std::string(text_.substr(begin, end - begin)));
  }

  // Data up to the next tag, and that tag.
  void Root() {
    size_t tag = at_;
    while (true) {
      tag = text_.find('{', tag);
      if (tag == kNone || tag + 1 >= text_.size()) {
        AddData(at_, text_.size());
        Advance(text_.size());
        return;
      }
      const char next = text_[tag + 1];
      if (next == '%' || next == '{' || next == '#') break;
      ++tag;
    }
    const char kind = text_[tag + 1];
    char sign = '\0';
    const size_t raw = kind == '%' ? EndOfRawBegin(tag, &sign) : kNone;
    size_t inside = tag + 2;
    if (raw == kNone) {
      sign = Peek(inside) == '-' || Peek(inside) == '+' ? Peek(inside) : '\0';
      if (sign != '\0') ++inside;
    }
    AddData(at_, EndOfData(at_, tag, sign, kind == '{'));
    Advance(tag);
    if (raw != kNone) {
      Advance(raw);
      return Raw();
    }
    if (kind == '#') {
      Advance(inside);
      return Comment();
    }
    Add(kind == '%' ? TokenType::kBlockBegin : TokenType::kVariableBegin, "");
    Advance(inside);
    Tag(kind == '%');
  }

  void Comment() {
    for (size_t at = at_; at < text_.size(); ++at) {
      at = text_.find_first_of("+-#", at);
      if (at == kNone) break;
      const size_t end = EndOfTag(at, "#}", true, true);
      if (end == kNone) continue;
      return Advance(end);
    }
    Fail("Missing end of comment tag");
  }

  void Raw() {
    for (size_t tag = text_.find("{%", at_); tag != kNone; tag = text_.find("{%", tag + 1)) {
      size_t inside = tag + 2;
      const char sign = Peek(inside) == '-' || Peek(inside) == '+' ? Peek(inside) : '\0';
      if (sign != '\0') ++inside;
      inside = SkipSpace(text_, inside);
      if (text_.substr(inside, 6) != "endraw") continue;
      const size_t end = EndOfTag(SkipSpace(text_, inside + 6), "%}", true, true);
      if (end == kNone) continue;
      AddData(at_, EndOfData(at_, tag, sign, false));
      return Advance(end);
    }
    Fail("Missing end of raw directive");
  }

  // The inside of {% … %} or {{ … }}, and its end.
  void Tag(bool block) {
    std::vector<char> open;  // the brackets that still have to be closed
    while (at_ < text_.size()) {
      if (open.empty()) {
        const size_t end =
            block ? EndOfTag(at_, "%}", true, true) : EndOfTag(at_, "}}", false, false);
        if (end != kNone) {
          Add(block ? TokenType::kBlockEnd : TokenType::kVariableEnd, "");
          return Advance(end);
        }
      }
      const size_t space = SkipSpace(text_, at_);
      if (space > at_) {
        Advance(space);
        continue;
      }
      if (Number() || Name() || String()) continue;
      Operator(&open);
    }
  }

  bool Number() {
    size_t end = EndOfFloat(text_, at_);
    const bool is_float = end > at_;
    if (!is_float) end = EndOfInteger(text_, at_);
    if (end == at_) return false;
    std::string digits(text_.substr(at_, end - at_));
    std::erase(digits, '_');
    Add(is_float ? TokenType::kFloat : TokenType::kInteger, digits);
    if (is_float) {
      tokens_.back().number = std::strtod(digits.c_str(), nullptr);
    } else {
      try {
        ParseInt(digits, 0, &tokens_.back().integer);
      } catch (const Error&) {
        Fail("an integer literal needs more than 128 bits");
      }
    }
    Advance(end);
    return true;
  }

  bool Name() {
    const size_t end = EndOfName(text_, at_);
    if (end == at_) return false;
    std::string name(text_.substr(at_, end - at_));
    if (!IsIdentifier(name)) Fail("Invalid character in identifier");
    Add(TokenType::kName, std::move(name));
    Advance(end);
    return true;
  }

  bool String() {
    const char quote = text_[at_];
    if (quote != '\'' && quote != '"') return false;
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) return false;
    Add(TokenType::kString, Unescape(text_.substr(at_ + 1, end - at_ - 1)));
    Advance(end + 1);
    return true;
  }

  void Operator(std::vector<char>* open) {
    for (const std::string_view symbol : kOperators) {
      if (text_.substr(at_, symbol.size()) != symbol) continue;
      const char c = symbol[0];
      if (symbol.size() == 1 && (c == '(' || c == '[' || c == '{')) {
        open->push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
      } else if (symbol.size() == 1 && (c == ')' || c == ']' || c == '}')) {
        if (open->empty()) Fail(Cat("unexpected '", c, "'"));
        if (open->back() != c) Fail(Cat("unexpected '", c, "', expected '", open->back(), "'"));
        open->pop_back();
      }
      Add(TokenType::kOperator, std::string(symbol));
      return Advance(at_ + symbol.size());
    }
    size_t next = at_;
    NextCodePoint(text_, &next);
    Fail(Cat("unexpected char ", ReprText(text_.substr(at_, next - at_)), " at ",
             CountCodePoints(text_.substr(0, at_))));
  }

  uint32_t HexDigits(std::string_view text, size_t at, size_t count, const char* what) const {
    uint32_t code = 0;
    for (size_t i = 0; i < count; ++i) {
      const char c = at + i < text.size() ? text[at + i] : '\0';
      const int digit = c >= '0' && c <= '9'                 ? c - '0'
                        : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                             : -1;
      if (digit < 0) Fail(Cat("truncated ", what, " escape"));
      code = code << 4 | static_cast<uint32_t>(digit);
    }
    if (code > 0x10FFFF) Fail("illegal Unicode character");
    return code;
  }

  // The escapes of Python's string literals.
  std::string Unescape(std::string_view text) const {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        out.push_back(text[i]);
        continue;
      }
      const char c = text[++i];  // the token ends with no lone backslash
      switch (c) {
        case '\n':
          break;
        case '\\':
        case '\'':
        case '"':
          out.push_back(c);
          break;
        case 'a':
          out.push_back('\a');
          break;
        case 'b':
          out.push_back('\b');
          break;
        case 'f':
          out.push_back('\f');
          break;
        case 'n':
          out.push_back('\n');
          break;
        case 'r':
          out.push_back('\r');
          break;
        case 't':
          out.push_back('\t');
          break;
        case 'v':
          out.push_back('\v');
          break;
        case 'x':
          AppendCodePoint(&out, HexDigits(text, i + 1, 2, "\\xXX"));
          i += 2;
          break;
        case 'u':
          AppendCodePoint(&out, HexDigits(text, i + 1, 4, "\\uXXXX"));
          i += 4;
          break;
        case 'U':
          AppendCodePoint(&out, HexDigits(text, i + 1, 8, "\\UXXXXXXXX"));
          i += 8;
          break;
        case 'N': {
          const size_t end = text.find('}', i);
          if (i + 1 >= text.size() || text[i + 1] != '{' || end == kNone) {
            Fail("malformed \\N character escape");
          }
          const int32_t code = CodePointNamed(std::string(text.substr(i + 2, end - i - 2)));
          if (code < 0) Fail("unknown Unicode character name");
          AppendCodePoint(&out, static_cast<char32_t>(code));
          i = end;
          break;
        }
        default:
          if (c >= '0' && c <= '7') {
            uint32_t code = 0;
            size_t digits = 0;
            while (digits < 3 && i < text.size() && text[i] >= '0' && text[i] <= '7') {
              code = code * 8 + static_cast<uint32_t>(text[i++] - '0');
              ++digits;
            }
            --i;
            AppendCodePoint(&out, code);
          } else {
            out.push_back('\\');
            out.push_back(c);
          }
      }
    }
    return out;
  }

  const std::string source_;
  const std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // what was last read ended a line
  std::vector<Token> tokens_;
};

}  // namespace

std::string Describe(TokenType type) {
  switch (type) {
    case TokenType::kData:
      return "template data / text";
    case TokenType::kBlockBegin:
      return "begin of statement block";
    case TokenType::kBlockEnd:
      return "end of statement block";
    case TokenType::kVariableBegin:
      return "begin of print statement";
    case TokenType::kVariableEnd:
      return "end of print statement";
    case TokenType::kName:
      return "name";
    case TokenType::kString:
      return "string";
    case TokenType::kInteger:
      return "integer";
    case TokenType::kFloat:
      return "float";
    case TokenType::kOperator:
      return "operator";
    case TokenType::kEnd:
      return "end of template";
  }
  return "token";
}

std::string Describe(const Token& token) {
  if (token.type == TokenType::kName || token.type == TokenType::kOperator) return token.text;
  return Describe(token.type);
}

std::vector<Token> Tokenize(std::string_view source) {
  std::string text = NormalizeNewlines(source);
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return Lexer(std::move(text)).Run();
}

}  // namespace shardline::jinja
