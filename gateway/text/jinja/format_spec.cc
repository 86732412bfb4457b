// Python's format(value, spec): [[fill]align][sign][z][#][0][width][grouping][.precision][type]
#include <algorithm>
#include <cmath>

#include "gateway/text/jinja/format.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja {

namespace {

struct Spec {
  std::string fill = " ";
  char align = '\0';  // '<', '>', '^', '='
  char sign = '-';
  bool sign_given = false;
  bool alternate = false;
  int64_t width = 0;
  bool positive_zero = false;  // what is rounded to zero has no minus
  char grouping = '\0';
  int64_t precision = -1;
  char type = '\0';
};

bool IsAlign(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

int64_t ParseNumber(std::string_view text, size_t* at) {
  int64_t number = 0;
  while (*at < text.size() && text[*at] >= '0' && text[*at] <= '9') {
    number = number * 10 + (text[(*at)++] - '0');
    if (number > INT64_MAX / 16) ValueError("Too many decimal digits in format string");
  }
  return number;
}

Spec ParseSpec(std::string_view text, const Value& value) {
  Spec spec;
  size_t at = 0;
  bool fill_given = false;
  if (!text.empty()) {
    const size_t width = CodePointWidth(text, 0);
    if (width < text.size() && IsAlign(text[width])) {
      spec.fill = std::string(text.substr(0, width));
      spec.align = text[width];
      at = width + 1;
      fill_given = true;
    } else if (IsAlign(text[0])) {
      spec.align = text[0];
      at = 1;
    }
  }
  const auto skip = [&](char c) {
    if (at < text.size() && text[at] == c) {
      ++at;
      return true;
    }
    return false;
  };
  const auto peek = [&] { return at < text.size() ? text[at] : '\0'; };
  if (peek() == '+' || peek() == '-' || peek() == ' ') {
    spec.sign = text[at++];
    spec.sign_given = true;
    if (value.is_string()) ValueError("Sign not allowed in string format specifier");
  }
  spec.positive_zero = skip('z');
  spec.alternate = skip('#');
  if (!fill_given && skip('0')) {
    spec.fill.assign(1, '0');
    if (spec.align == '\0' && value.is_number()) spec.align = '=';
  }
  spec.width = ParseNumber(text, &at);
  if (peek() == ',' || peek() == '_') spec.grouping = text[at++];
  if (spec.grouping != '\0' && (peek() == ',' || peek() == '_')) {
    ValueError("Cannot specify both ',' and '_'.");
  }
  if (skip('.')) {
    const size_t before = at;
    spec.precision = ParseNumber(text, &at);
    if (at == before) ValueError("Format specifier missing precision");
  }
  if (at + 1 < text.size()) {
    ValueError("Invalid format specifier '", text, "' for object of type '", TypeName(value), "'");
  }
  if (at < text.size()) spec.type = text[at];
  return spec;
}

// `text` padded to the spec's width; `numeric` is the length of a sign and prefix that '=' puts
// before the padding.
Value Pad(const Spec& spec, const Value& text, size_t numeric, char default_align) {
  const auto size = static_cast<int64_t>(CountCodePoints(text.text()));
  if (spec.width <= size) return text;
  const auto padding = static_cast<size_t>(spec.width - size);
  const char align = spec.align != '\0' ? spec.align : default_align;
  TextBuilder builder;
  size_t before = 0, after = 0;
  if (align == '>') before = padding;
  if (align == '<') after = padding;
  if (align == '^') {
    before = padding / 2;
    after = padding - before;
  }
  builder.AppendRepeated(spec.fill, before);
  if (align == '=') {
    builder.Append(text.string(), 0, numeric);
    builder.AppendRepeated(spec.fill, padding);
    builder.Append(text.string(), numeric, text.text().size());
  } else {
    builder.Append(text);
  }
  builder.AppendRepeated(spec.fill, after);
  return builder.Build();
}

// Digits with separators every `every` digits; zeros are added until it is `width` long.
std::string Grouped(const std::string& digits, char separator, size_t every, int64_t width) {
  std::string reversed;
  size_t count = 0;
  for (size_t i = 0; i < digits.size() || static_cast<int64_t>(reversed.size()) < width; ++i) {
    if (count > 0 && count % every == 0) reversed += separator;
    reversed += i < digits.size() ? digits[digits.size() - 1 - i] : '0';
    ++count;
  }
  return std::string(reversed.rbegin(), reversed.rend());
}

// A number's parts put together: sign and prefix, grouped whole digits, the rest, padding.
Value FormatNumber(const Spec& spec, const std::string& sign, const std::string& digits,
                   const std::string& rest, size_t every) {
  std::string whole = digits;
  if (spec.grouping != '\0') {
    int64_t width = 0;
    if (spec.fill == "0" && spec.align == '=') {
      width = spec.width - static_cast<int64_t>(sign.size() + rest.size());
      CheckTextSize(static_cast<size_t>(std::max<int64_t>(width, 0)));
    }
    whole = Grouped(digits, spec.grouping, every, width);
  }
  return Pad(spec, Value(sign + whole + rest), sign.size(), '>');
}

std::string SignOf(const Spec& spec, bool negative) {
  if (negative) return "-";
  return spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "";
}

void RefusePositiveZero(const Spec& spec, const char* what) {
  if (spec.positive_zero) {
    ValueError("Negative zero coercion (z) not allowed in ", what, " format specifier");
  }
}

[[noreturn]] void UnknownCode(const Spec& spec, const Value& value) {
  ValueError("Unknown format code '", spec.type, "' for object of type '", TypeName(value), "'");
}

void RefuseGrouping(const Spec& spec) {
  if (spec.grouping != '\0')
    ValueError("Cannot specify '", spec.grouping, "' with '", spec.type, "'.");
}

Value FormatString(const Spec& spec, const Value& value) {
  if (spec.type != '\0' && spec.type != 's') UnknownCode(spec, value);
  if (spec.align == '=') ValueError("'=' alignment not allowed in string format specifier");
  if (spec.alternate) ValueError("Alternate form (#) not allowed in string format specifier");
  RefusePositiveZero(spec, "string");
  RefuseGrouping(spec);
  const StringObject& string = value.string();
  const size_t end = spec.precision < 0
                         ? string.text.size()
                         : OffsetOf(string.text, static_cast<size_t>(spec.precision));
  return Pad(spec, Substring(string, 0, end), 0, '<');
}

Value FormatFloat(const Spec& spec, double number) {
  std::string digits;
  const auto precision = static_cast<int>(std::min<int64_t>(spec.precision, INT32_MAX));
  switch (spec.type) {
    case '\0':
      if (spec.precision < 0) {
        digits = FloatText(number);
        if (spec.alternate && digits.find('.') == std::string::npos && std::isfinite(number)) {
          digits.insert(std::min(digits.find('e'), digits.size()), 1, '.');
        }
      } else {
        // Like %g, but with a digit after the point, and an exponent one digit earlier.
        const int significant = std::max(precision, 1);
        const std::string scientific = FormatDouble(number, 'e', significant - 1, spec.alternate);
        const size_t e = scientific.find('e');
        if (e == std::string::npos) {
          digits = scientific;  // nan, inf
        } else if (std::stoi(scientific.substr(e + 1)) >= significant - 1) {
          std::string mantissa = scientific.substr(0, e);
          if (!spec.alternate && mantissa.find('.') != std::string::npos) {
            while (mantissa.back() == '0') mantissa.pop_back();
            if (mantissa.back() == '.') mantissa.pop_back();
          }
          digits = mantissa + scientific.substr(e);
        } else {
          digits = FormatDouble(number, 'g', significant, spec.alternate);
          const bool whole = digits.find_first_of(".e") == std::string::npos;
          if (whole) digits += ".0";
        }
      }
      break;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      digits = FormatDouble(number, spec.type, spec.precision < 0 ? 6 : precision, spec.alternate);
      break;
    case 'n':
      RefuseGrouping(spec);
      digits = FormatDouble(number, 'g', spec.precision < 0 ? 6 : precision, spec.alternate);
      break;
    case '%':
      digits =
          FormatDouble(number * 100, 'f', spec.precision < 0 ? 6 : precision, spec.alternate) + "%";
      break;
    default:
      UnknownCode(spec, Value(number));
  }
  bool negative = digits[0] == '-';
  if (negative) digits.erase(0, 1);
  // Infinity is no zero.
  if (spec.positive_zero) negative = negative && digits.find_first_of("123456789i") < digits.size();
  size_t whole = 0;
  while (whole < digits.size() && digits[whole] >= '0' && digits[whole] <= '9') ++whole;
  return FormatNumber(spec, SignOf(spec, negative), digits.substr(0, whole), digits.substr(whole),
                      3);
}

Value FormatInteger(const Spec& spec, const Value& value) {
  const Int number = value.integer();
  unsigned base = 10;
  std::string prefix;
  switch (spec.type) {
    case 'n':
      RefuseGrouping(spec);
      break;
    case '\0':
    case 'd':
      break;
    case 'b':
      base = 2, prefix = "0b";
      break;
    case 'o':
      base = 8, prefix = "0o";
      break;
    case 'x':
      base = 16, prefix = "0x";
      break;
    case 'X':
      base = 16, prefix = "0X";
      break;
    case 'c': {
      if (spec.precision >= 0) ValueError("Precision not allowed in integer format specifier");
      RefusePositiveZero(spec, "integer");
      if (spec.sign_given) ValueError("Sign not allowed with integer format specifier 'c'");
      if (spec.alternate) {
        ValueError("Alternate form (#) not allowed with integer format specifier 'c'");
      }
      RefuseGrouping(spec);
      if (number < 0 || number > 0x10FFFF) {
        Throw(ErrorKind::kArithmetic, "%c arg not in range(0x110000)");
      }
      std::string text;
      AppendCodePoint(&text, static_cast<char32_t>(number));
      return Pad(spec, Value(std::move(text)), 0, '>');
    }
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
    case '%':
      return FormatFloat(spec, static_cast<double>(number));
    default:
      UnknownCode(spec, value);
  }
  if (spec.precision >= 0) ValueError("Precision not allowed in integer format specifier");
  RefusePositiveZero(spec, "integer");
  if (spec.grouping == ',' && base != 10) {
    ValueError("Cannot specify ',' with '", spec.type, "'.");
  }
  const std::string digits = DigitText(Magnitude(number), base, spec.type == 'X');
  const std::string sign = SignOf(spec, number < 0) + (spec.alternate ? prefix : "");
  return FormatNumber(spec, sign, digits, "", base == 10 ? 3 : 4);
}

}  // namespace

Value FormatValue(const Value& value, std::string_view text) {
  if (text.empty()) return ToStr(value);
  const Spec spec = ParseSpec(text, value);
  switch (value.kind()) {
    case Kind::kString:
      return FormatString(spec, value);
    case Kind::kBool:
    case Kind::kInt:
      return FormatInteger(spec, value);
    case Kind::kFloat:
      return FormatFloat(spec, value.floating());
    default:
      TypeError("unsupported format string passed to ", TypeName(value), ".__format__");
  }
}

}  // namespace shardline::jinja
