// Python's str() and repr(), and the parsing of its numbers.
#include <charconv>
#include <cmath>
#include <string>

#include "gateway/text/jinja/loop.h"
#include "gateway/text/jinja/macro.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja {

std::string DigitText(unsigned __int128 value, unsigned base, bool upper) {
  const char* const kDigits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
  char digits[128];
  size_t begin = sizeof(digits);
  do {
    digits[--begin] = kDigits[static_cast<unsigned>(value % base)];
    value /= base;
  } while (value > 0);
  return std::string(digits + begin, sizeof(digits) - begin);
}

unsigned __int128 Magnitude(Int value) {
  return value < 0 ? -static_cast<unsigned __int128>(value) : static_cast<unsigned __int128>(value);
}

std::string IntText(Int value) {
  return Cat(value < 0 ? "-" : "", DigitText(Magnitude(value), 10));
}

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  std::string text(buffer, end.ptr);  // d.ddde±xx, the shortest that reads back as the same
  const size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  std::string sign = text[0] == '-' ? "-" : "";
  std::string digits;
  for (char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') digits.push_back(c);
  }
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    const int magnitude = exponent < 0 ? -exponent : exponent;
    return Cat(sign, digits[0], count > 1 ? "." : "", digits.substr(1), exponent < 0 ? "e-" : "e+",
               magnitude < 10 ? "0" : "", magnitude);
  }
  if (exponent < 0) {
    return Cat(sign, "0.", std::string(static_cast<size_t>(-exponent - 1), '0'), digits);
  }
  if (count <= exponent + 1) {
    return Cat(sign, digits, std::string(static_cast<size_t>(exponent + 1 - count), '0'), ".0");
  }
  const auto whole = static_cast<size_t>(exponent) + 1;
  return Cat(sign, digits.substr(0, whole), ".", digits.substr(whole));
}

namespace {

void AppendHex(std::string* out, const char* prefix, uint32_t code, int width) {
  static constexpr char kDigits[] = "0123456789abcdef";
  out->append(prefix);
  for (int shift = (width - 1) * 4; shift >= 0; shift -= 4) {
    out->push_back(kDigits[(code >> shift) & 15]);
  }
}

void AppendEscaped(std::string* out, char32_t c) {
  if (c <= 0xFF) return AppendHex(out, "\\x", c, 2);
  if (c <= 0xFFFF) return AppendHex(out, "\\u", c, 4);
  AppendHex(out, "\\U", c, 8);
}

void AppendRepr(const Value& value, std::string* out, int depth);

void AppendReprItems(const std::vector<Value>& items, std::string* out, int depth) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out->append(", ");
    AppendRepr(items[i], out, depth);
  }
}

void AppendReprDict(const DictObject& dict, std::string* out, int depth) {
  out->push_back('{');
  for (size_t i = 0; i < dict.items.size(); ++i) {
    if (i > 0) out->append(", ");
    AppendRepr(dict.items[i].first, out, depth);
    out->append(": ");
    AppendRepr(dict.items[i].second, out, depth);
  }
  out->push_back('}');
}

void AppendReprView(const ViewObject& view, std::string* out, int depth) {
  const char* open[] = {"dict_keys([", "dict_values([", "dict_items(["};
  out->append(open[static_cast<int>(view.view)]);
  for (size_t i = 0; i < view.dict->items.size(); ++i) {
    const auto& [key, item] = view.dict->items[i];
    if (i > 0) out->append(", ");
    if (view.view == ViewKind::kItems) out->push_back('(');
    if (view.view != ViewKind::kValues) AppendRepr(key, out, depth);
    if (view.view == ViewKind::kItems) out->append(", ");
    if (view.view != ViewKind::kKeys) AppendRepr(item, out, depth);
    if (view.view == ViewKind::kItems) out->push_back(')');
  }
  out->append("])");
}

std::string FunctionText(const FunctionObject& function) {
  if (function.bound) {
    return Cat("<built-in method ", function.native->name, " of ", TypeName(function.self),
               " object>");
  }
  if (function.native->name == "dict") return "<class 'dict'>";
  if (function.native->name == "namespace") return "<class 'jinja2.utils.Namespace'>";
  if (function.native->name == "cycler") return "<class 'jinja2.utils.Cycler'>";
  if (function.native->name == "joiner") return "<class 'jinja2.utils.Joiner'>";
  return Cat("<function ", function.native->name, ">");
}

void AppendRepr(const Value& value, std::string* out, int depth) {
  // Namespaces may hold each other, so their nesting is not bounded by the values' own.
  if (depth > 400) LimitError("a value is nested too deeply to be printed");
  CheckTextSize(out->size());
  Step();
  switch (value.kind()) {
    case Kind::kNone:
      out->append("None");
      return;
    case Kind::kBool:
      out->append(value.boolean() ? "True" : "False");
      return;
    case Kind::kInt:
      out->append(IntText(value.integer()));
      return;
    case Kind::kFloat:
      out->append(FloatText(value.floating()));
      return;
    case Kind::kString:
      StepBytes(value.text().size());
      if (value.string().markup) {
        out->append("Markup(").append(ReprText(value.text())).append(")");
      } else {
        out->append(ReprText(value.text()));
      }
      return;
    case Kind::kList:
      out->push_back('[');
      AppendReprItems(value.items(), out, depth + 1);
      out->push_back(']');
      return;
    case Kind::kTuple:
      out->push_back('(');
      AppendReprItems(value.items(), out, depth + 1);
      out->append(value.items().size() == 1 ? ",)" : ")");
      return;
    case Kind::kDict:
      AppendReprDict(value.dict(), out, depth + 1);
      return;
    case Kind::kUndefined:
      out->append("Undefined");
      return;
    case Kind::kNamespace:
      out->append("<Namespace ");
      AppendReprDict(*value.as<NamespaceObject>().attributes, out, depth + 1);
      out->push_back('>');
      return;
    case Kind::kRange: {
      const auto& range = value.as<RangeObject>();
      out->append(Cat("range(", range.start, ", ", range.stop));
      if (range.step != 1) out->append(Cat(", ", range.step));
      out->push_back(')');
      return;
    }
    case Kind::kView:
      AppendReprView(value.as<ViewObject>(), out, depth + 1);
      return;
    case Kind::kFunction:
      out->append(FunctionText(value.as<FunctionObject>()));
      return;
    case Kind::kMacro:
      if (value.as<MacroObject>().name.empty()) {
        out->append("<Macro anonymous>");
      } else {
        out->append("<Macro ").append(ReprText(value.as<MacroObject>().name)).append(">");
      }
      return;
    case Kind::kLoop: {
      auto& loop = value.as<LoopObject>();
      out->append(Cat("<LoopContext ", loop.index0 + 1, "/", loop.Length(), ">"));
      return;
    }
    case Kind::kSelf:
      out->append("<TemplateReference None>");
      return;
    default:
      out->append(Cat("<", TypeName(value), " object>"));
      return;
  }
}

}  // namespace

std::string ReprText(std::string_view text) {
  const bool double_quotes =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string out(1, quote);
  for (size_t offset = 0; offset < text.size();) {
    const size_t begin = offset;
    const char32_t c = NextCodePoint(text, &offset);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out.push_back('\\');
      out.push_back(static_cast<char>(c));
    } else if (c == '\n') {
      out.append("\\n");
    } else if (c == '\r') {
      out.append("\\r");
    } else if (c == '\t') {
      out.append("\\t");
    } else if (IsPrintable(c)) {
      out.append(text.substr(begin, offset - begin));
    } else {
      AppendEscaped(&out, c);
    }
  }
  out.push_back(quote);
  return out;
}

std::string AsciiOf(std::string_view repr) {
  std::string out;
  for (size_t offset = 0; offset < repr.size();) {
    const char32_t c = NextCodePoint(repr, &offset);
    if (c < 0x80) {
      out.push_back(static_cast<char>(c));
    } else {
      AppendEscaped(&out, c);
    }
  }
  return out;
}

std::string ToRepr(const Value& value) {
  std::string out;
  AppendRepr(value, &out, 0);
  return out;
}

Value ToReprValue(const Value& value) { return WhollyMarked(ToRepr(value), HasMarks(value)); }

Value ToStr(const Value& value, bool keep_markup) {
  if (value.is_string()) {
    const StringObject& string = value.string();
    if (!string.markup || keep_markup) return value;
    return MakeString(string.text, string.marks);
  }
  if (value.is_undefined()) return MakeString("");
  return ToReprValue(value);
}

void AppendStr(const Value& value, TextBuilder* out) {
  if (value.is_string()) {
    out->Append(value.string());
    StepBytes(value.text().size());
  } else if (value.is(Kind::kInt)) {
    out->Append(IntText(value.integer()));
  } else if (!value.is_undefined()) {
    out->AppendInput(ToRepr(value), HasMarks(value));
  }
}

namespace {

// Removes the underscores of a Python number and turns Unicode digits into ASCII; false when an
// underscore stands where it may not.
bool PlainDigits(std::string_view text, std::string* out) {
  bool digit_before = false;
  for (size_t offset = 0; offset < text.size();) {
    const char32_t c = NextCodePoint(text, &offset);
    if (c == '_') {
      if (!digit_before || offset >= text.size()) return false;
      size_t next = offset;
      const char32_t after = NextCodePoint(text, &next);
      if (DecimalValue(after) < 0 && !((after | 32) >= 'a' && (after | 32) <= 'z')) return false;
      digit_before = false;
      continue;
    }
    const int digit = DecimalValue(c);
    if (digit >= 0) {
      out->push_back(static_cast<char>('0' + digit));
    } else if (c < 0x80) {
      out->push_back(static_cast<char>(c));
    } else {
      return false;
    }
    digit_before = digit >= 0 || ((c | 32) >= 'a' && (c | 32) <= 'z');
  }
  return true;
}

// Without the whitespace that Python's numbers may have around them.
std::string_view Stripped(std::string_view text) {
  if (IsAscii(text)) {
    const size_t begin = std::min(text.find_first_not_of(" \t\n\v\f\r"), text.size());
    return text.substr(begin, text.find_last_not_of(" \t\n\v\f\r") + 1 - begin);
  }
  const size_t begin = SkipSpace(text, 0);
  return text.substr(begin, SkipSpaceBackwards(text, text.size()) - begin);
}

}  // namespace

bool ParseInt(std::string_view text, int base, Int* value) {
  StepBytes(text.size());
  text = Stripped(text);
  if (text.empty()) return false;
  bool negative = false;
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  const auto prefix = [&](char letter) {
    return text.size() > 1 && text[0] == '0' && (text[1] | 32) == letter;
  };
  bool prefixed = true;
  const bool any_base = base == 0;
  if ((base == 16 || base == 0) && prefix('x')) {
    base = 16;
  } else if ((base == 8 || base == 0) && prefix('o')) {
    base = 8;
  } else if ((base == 2 || base == 0) && prefix('b')) {
    base = 2;
  } else {
    prefixed = false;
    if (base == 0) base = 10;
  }
  if (prefixed) {
    text.remove_prefix(2);
    if (!text.empty() && text[0] == '_') text.remove_prefix(1);
  }
  std::string digits;
  if (!PlainDigits(text, &digits) || digits.empty()) return false;
  if (any_base && !prefixed && digits.size() > 1 && digits[0] == '0' &&
      digits.find_first_not_of('0') != std::string::npos) {
    return false;
  }
  unsigned __int128 total = 0;
  constexpr unsigned __int128 kMax = ~static_cast<unsigned __int128>(0) >> 1;
  bool overflow = false;
  for (char c : digits) {
    const int digit = c >= '0' && c <= '9'                 ? c - '0'
                      : (c | 32) >= 'a' && (c | 32) <= 'z' ? (c | 32) - 'a' + 10
                                                           : 99;
    if (digit >= base) return false;
    if (total > (kMax - static_cast<unsigned>(digit)) / static_cast<unsigned>(base))
      overflow = true;
    total = total * static_cast<unsigned>(base) + static_cast<unsigned>(digit);
  }
  if (overflow) Throw(ErrorKind::kArithmetic, "an integer needs more than 128 bits");
  *value = negative ? -static_cast<Int>(total) : static_cast<Int>(total);
  return true;
}

bool ParseFloat(std::string_view text, double* value) {
  StepBytes(text.size());
  text = Stripped(text);
  std::string plain;
  if (text.empty() || !PlainDigits(text, &plain)) return false;
  std::string_view digits = plain;
  const bool negative = !digits.empty() && digits[0] == '-';
  if (!digits.empty() && (digits[0] == '+' || digits[0] == '-')) digits.remove_prefix(1);
  const std::string lower = ToLower(digits);
  if (lower == "inf" || lower == "infinity") {
    *value = negative ? -HUGE_VAL : HUGE_VAL;
    return true;
  }
  if (lower == "nan") {
    *value = std::nan("");
    return true;
  }
  if (digits.empty() || !((digits[0] >= '0' && digits[0] <= '9') || digits[0] == '.')) return false;
  double parsed = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), parsed);
  if (result.ptr != digits.data() + digits.size()) return false;
  if (result.ec == std::errc::result_out_of_range) {
    // Too large or too small: strtod says which.
    parsed = std::strtod(std::string(digits).c_str(), nullptr);
  } else if (result.ec != std::errc()) {
    return false;
  }
  *value = negative ? -parsed : parsed;
  return true;
}

}  // namespace shardline::jinja
