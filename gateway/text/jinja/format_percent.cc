// Python's "%" formatting.
#include <cmath>
#include <cstdio>

#include "gateway/text/jinja/format.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja {

std::string FormatDouble(double value, char type, int precision, bool alternate) {
  const char lower = static_cast<char>(type | 32);
  const bool upper = lower != type;
  if (std::isnan(value)) return upper ? "NAN" : "nan";
  if (std::isinf(value)) return Cat(value < 0 ? "-" : "", upper ? "INF" : "inf");
  if (precision > 100000) LimitError("a precision of ", precision, " is too large");
  const char pattern[] = {'%',
                          alternate ? '#' : '.',
                          alternate ? '.' : '*',
                          alternate ? '*' : type,
                          alternate ? type : '\0',
                          '\0'};
  std::string out(static_cast<size_t>(precision) + 400, '\0');
  const int size = std::snprintf(out.data(), out.size(), pattern, precision, value);
  out.resize(static_cast<size_t>(size));
  return out;
}

namespace {

struct Conversion {
  bool left = false, plus = false, space = false, alternate = false, zero = false;
  int64_t width = 0;
  int64_t precision = -1;
  char type = 's';
};

constexpr int64_t kMaxWidth = 1 << 26;  // far above any limit on strings, so those speak

class PercentFormatter {
 public:
  PercentFormatter(const Value& format, const Value& arguments)
      : format_(format.string()), text_(format_.text), arguments_(arguments) {}

  Value Run() {
    while (at_ < text_.size()) {
      const size_t percent = std::min(text_.find('%', at_), text_.size());
      out_.Append(format_, at_, percent);
      at_ = percent;
      if (at_ < text_.size()) Convert();
    }
    CheckAllUsed();
    return out_.Build(format_.markup);
  }

 private:
  char Peek() const {
    if (at_ >= text_.size()) ValueError("incomplete format");
    return text_[at_];
  }

  bool is_mapping() const {
    switch (arguments_.kind()) {
      case Kind::kDict:
      case Kind::kList:
      case Kind::kRange:
      case Kind::kUndefined:
        return true;
      default:
        return false;
    }
  }

  const Value& NextArgument() {
    if (arguments_.is(Kind::kTuple)) {
      if (used_ >= arguments_.items().size()) TypeError("not enough arguments for format string");
      return arguments_.items()[used_++];
    }
    if (used_++ > 0) TypeError("not enough arguments for format string");
    return arguments_;
  }

  void CheckAllUsed() const {
    if (is_mapping()) return;
    const size_t given = arguments_.is(Kind::kTuple) ? arguments_.items().size() : 1;
    if (used_ < given) TypeError("not all arguments converted during string formatting");
  }

  int64_t Number(const char* what) {
    if (Peek() == '*') {
      ++at_;
      const Value& argument = NextArgument();
      if (!argument.is_integral()) TypeError("* wants int");
      if (argument.integer() > INT32_MAX || argument.integer() < -INT32_MAX) {
        ValueError(what, " too big");
      }
      return static_cast<int64_t>(argument.integer());
    }
    int64_t number = 0;
    while (Peek() >= '0' && Peek() <= '9') {
      number = number * 10 + (text_[at_++] - '0');
      if (number > INT32_MAX) ValueError(what, " too big");
    }
    return number;
  }

  // One conversion, from its '%' on.
  void Convert() {
    const size_t begin = at_++;
    if (Peek() == '%') {
      ++at_;
      out_.Append(format_, begin, begin + 1);
      return;
    }
    Conversion c;
    Value named;
    bool has_name = false;
    if (Peek() == '(') {
      named = NamedArgument();
      has_name = true;
    }
    for (;; ++at_) {
      const char flag = Peek();
      if (flag == '-')
        c.left = true;
      else if (flag == '+')
        c.plus = true;
      else if (flag == ' ')
        c.space = true;
      else if (flag == '#')
        c.alternate = true;
      else if (flag == '0')
        c.zero = true;
      else
        break;
    }
    c.width = Number("width");
    if (c.width < 0) {
      c.left = true;
      c.width = -c.width;
    }
    if (Peek() == '.') {
      ++at_;
      c.precision = std::max<int64_t>(0, Number("precision"));
    }
    if (Peek() == 'h' || Peek() == 'l' || Peek() == 'L') ++at_;
    c.type = Peek();
    ++at_;
    Emit(c, has_name ? named : NextArgument());
  }

  Value NamedArgument() {
    if (!is_mapping()) TypeError("format requires a mapping");
    const size_t begin = ++at_;
    for (int depth = 1; depth > 0; ++at_) {
      if (at_ >= text_.size()) ValueError("incomplete format key");
      if (text_[at_] == '(') ++depth;
      if (text_[at_] == ')') --depth;
    }
    const std::string_view key = text_.substr(begin, at_ - 1 - begin);
    if (arguments_.is_undefined()) FailUndefined(arguments_);
    if (!arguments_.is(Kind::kDict)) {
      TypeError(TypeName(arguments_), " indices must be integers or slices, not str");
    }
    const Value* found = arguments_.dict().Find(key);
    if (found == nullptr) Throw(ErrorKind::kLookup, ReprText(key));
    return *found;
  }

  void Emit(const Conversion& c, const Value& value) {
    switch (c.type) {
      case 's':
        return EmitText(c, ToStr(value, format_.markup));
      case 'r':
        return EmitText(c, ToReprValue(value));
      case 'a':
        return EmitText(c, WhollyMarked(AsciiOf(ToRepr(value)), HasMarks(value)));
      case 'c':
        return EmitCharacter(c, value);
      case 'd':
      case 'i':
      case 'u':
      case 'o':
      case 'x':
      case 'X':
        return EmitInteger(c, value);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        return EmitFloat(c, value);
      default:
        ValueError("unsupported format character '", c.type, "' (0x",
                   "0123456789abcdef"[(c.type >> 4) & 15], "0123456789abcdef"[c.type & 15],
                   ") at index ", CountCodePoints(text_.substr(0, at_ - 1)));
    }
  }

  void EmitText(const Conversion& c, Value value) {
    if (format_.markup) value = EscapeHtml(value);
    const StringObject& string = value.string();
    size_t end = string.text.size();
    if (c.precision >= 0) end = OffsetOf(string.text, static_cast<size_t>(c.precision));
    const auto size =
        static_cast<int64_t>(CountCodePoints(std::string_view(string.text).substr(0, end)));
    const auto padding =
        static_cast<size_t>(std::max<int64_t>(0, std::min(c.width, kMaxWidth) - size));
    if (!c.left) out_.AppendRepeated(" ", padding);
    out_.Append(string, 0, end);
    if (c.left) out_.AppendRepeated(" ", padding);
  }

  void EmitCharacter(const Conversion& c, const Value& value) {
    Conversion plain = c;
    plain.precision = -1;
    if (value.is_string()) {
      if (CountCodePoints(value.text()) != 1) TypeError("%c requires int or char");
      return EmitText(plain, value);
    }
    if (!value.is_integral()) TypeError("%c requires int or char");
    if (value.integer() < 0 || value.integer() > 0x10FFFF) {
      Throw(ErrorKind::kArithmetic, "%c arg not in range(0x110000)");
    }
    std::string text;
    AppendCodePoint(&text, static_cast<char32_t>(value.integer()));
    EmitText(plain, Value(std::move(text)));
  }

  void EmitInteger(const Conversion& c, const Value& value) {
    Int number = 0;
    if (value.is_undefined()) FailUndefined(value);
    if (value.is_integral()) {
      number = value.integer();
    } else if (value.is(Kind::kFloat) && c.type != 'x' && c.type != 'X' && c.type != 'o') {
      if (!std::isfinite(value.floating())) ValueError("cannot convert float to integer");
      if (std::fabs(value.floating()) >= 0x1p126) {
        Throw(ErrorKind::kArithmetic, "an integer needs more than 128 bits");
      }
      number = static_cast<Int>(value.floating());
    } else {
      TypeError("%", c.type, " format: ",
                c.type == 'x' || c.type == 'X' || c.type == 'o' ? "an integer" : "a real number",
                " is required, not ", TypeName(value));
    }
    const unsigned base = c.type == 'o' ? 8 : c.type == 'x' || c.type == 'X' ? 16 : 10;
    std::string digits = DigitText(Magnitude(number), base, c.type == 'X');
    if (c.precision > static_cast<int64_t>(digits.size())) {
      CheckTextSize(static_cast<size_t>(c.precision));
      digits.insert(0, static_cast<size_t>(c.precision) - digits.size(), '0');
    }
    std::string prefix = number < 0 ? "-" : c.plus ? "+" : c.space ? " " : "";
    if (c.alternate && base == 8) prefix += "0o";
    if (c.alternate && base == 16) prefix += c.type == 'X' ? "0X" : "0x";
    EmitNumber(c, prefix, digits);
  }

  void EmitFloat(const Conversion& c, const Value& value) {
    if (value.is_undefined()) FailUndefined(value);
    if (!value.is_number()) TypeError("must be real number, not ", TypeName(value));
    const auto precision =
        static_cast<int>(c.precision < 0 ? 6 : std::min<int64_t>(c.precision, INT32_MAX));
    std::string digits = FormatDouble(ToDouble(value), c.type, precision, c.alternate);
    std::string prefix = c.plus ? "+" : c.space ? " " : "";
    if (digits[0] == '-') {
      prefix.assign(1, '-');
      digits.erase(0, 1);
    }
    EmitNumber(c, prefix, digits);
  }

  void EmitNumber(const Conversion& c, const std::string& prefix, const std::string& digits) {
    const auto size = static_cast<int64_t>(prefix.size() + digits.size());
    const auto padding =
        static_cast<size_t>(std::max<int64_t>(0, std::min(c.width, kMaxWidth) - size));
    const bool zero = c.zero && !c.left;
    if (!zero && !c.left) out_.AppendRepeated(" ", padding);
    out_.Append(prefix);
    if (zero) out_.AppendRepeated("0", padding);
    out_.Append(digits);
    if (c.left) out_.AppendRepeated(" ", padding);
  }

  const StringObject& format_;
  const std::string_view text_;
  const Value& arguments_;
  size_t at_ = 0;
  size_t used_ = 0;
  TextBuilder out_;
};

}  // namespace

Value FormatPercent(const Value& format, const Value& arguments) {
  return PercentFormatter(format, arguments).Run();
}

}  // namespace shardline::jinja
