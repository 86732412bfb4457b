// Filters on numbers.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "gateway/text/jinja/attribute_path.h"
#include "gateway/text/jinja/filters.h"
#include "gateway/text/jinja/format.h"
#include "gateway/text/jinja/python.h"

namespace shardline::jinja::filters {

namespace {

Int Truncated(double value) {
  if (std::isnan(value)) ValueError("cannot convert float NaN to integer");
  if (std::isinf(value)) {
    Throw(ErrorKind::kArithmetic, "cannot convert float infinity to integer");
  }
  if (std::fabs(value) >= 0x1p126) {
    Throw(ErrorKind::kArithmetic, "an integer needs more than 128 bits");
  }
  return static_cast<Int>(value);
}

// Python's float(value); ValueError and TypeError as Python has them.
double FloatOf(const Value& value) {
  if (value.is_number()) return ToDouble(value);
  if (value.is_undefined()) FailUndefined(value);
  if (!value.is_string()) {
    TypeError("float() argument must be a string or a real number, not '", TypeName(value), "'");
  }
  double number = 0;
  if (!ParseFloat(value.text(), &number)) {
    ValueError("could not convert string to float: ", ToRepr(value));
  }
  return number;
}

Int IntOf(const Value& value, const Value& base_value) {
  if (value.is_integral()) return value.integer();
  if (value.is(Kind::kFloat)) return Truncated(value.floating());
  if (value.is_undefined()) FailUndefined(value);
  if (!value.is_string()) {
    TypeError("int() argument must be a string, a bytes-like object or a real number, not '",
              TypeName(value), "'");
  }
  Int number = 0;
  const int base = static_cast<int>(std::clamp<int64_t>(ToIndex64(base_value), -1, 99));
  if (base != 0 && (base < 2 || base > 36)) ValueError("int() base must be >= 2 and <= 36, or 0");
  if (!ParseInt(value.text(), base, &number)) {
    ValueError("invalid literal for int() with base ", base, ": ", ToRepr(value));
  }
  return number;
}

bool IsConversionError(const Error& error) {
  return error.kind == ErrorKind::kType || error.kind == ErrorKind::kValue;
}

}  // namespace

Value Abs(CallFrame& call) {
  if (call[0].is(Kind::kFloat)) return Value(std::fabs(call[0].floating()));
  if (!call[0].is_integral()) TypeError("bad operand type for abs(): '", TypeName(call[0]), "'");
  return call[0].integer() < 0 ? Negate(call[0]) : Positive(call[0]);
}

Value ToInt(CallFrame& call) {
  Step(16);  // a text that is no number takes as long as many steps
  try {
    return Value(IntOf(call[0], call.has(2) ? call[2] : Value(10)));
  } catch (const Error& error) {
    if (!IsConversionError(error)) throw;
  }
  try {
    return Value(Truncated(FloatOf(call[0])));
  } catch (const Error& error) {
    if (!IsConversionError(error) && error.kind != ErrorKind::kArithmetic) throw;
  }
  return call.has(1) ? call[1] : Value(0);
}

Value ToFloat(CallFrame& call) {
  Step(16);
  try {
    return Value(FloatOf(call[0]));
  } catch (const Error& error) {
    if (!IsConversionError(error)) throw;
  }
  return call.has(1) ? call[1] : Value(0.0);
}

namespace {

// An int to a multiple of 10**digits, halves to even.
Value RoundInt(Int value, int64_t digits) {
  if (digits > 38) return Value(0);
  Int unit = 1;
  for (int64_t i = 0; i < digits; ++i) unit *= 10;
  const Int remainder = ((value % unit) + unit) % unit;
  Int down = value - remainder;
  const Int twice = remainder * 2;
  if (twice > unit || (twice == unit && (down / unit) % 2 != 0)) down += unit;
  return Value(down);
}

double RoundFloat(double value, int64_t digits) {
  if (!std::isfinite(value) || digits > 323) return value;
  if (digits < -308) return std::copysign(0.0, value);
  if (digits >= 0) {
    return std::strtod(FormatDouble(value, 'f', static_cast<int>(digits), false).c_str(), nullptr);
  }
  // The decimal digits of the whole part, rounded half to even at 10**-digits.
  std::string text = FormatDouble(std::fabs(std::trunc(value)), 'f', 0, false);
  const auto cut = static_cast<size_t>(-digits);
  if (text.size() < cut) return std::copysign(0.0, value);
  text = Cat("0", text);
  const std::string tail = text.substr(text.size() - cut);
  std::string head = text.substr(0, text.size() - cut);
  const std::string half = Cat("5", std::string(cut - 1, '0'));
  const bool above = tail > half || (tail == half && std::trunc(value) != value);
  if (above || (tail == half && (head.back() - '0') % 2 == 1)) {
    for (size_t i = head.size(); i-- > 0;) {
      if (head[i] != '9') {
        ++head[i];
        break;
      }
      head[i] = '0';
    }
  }
  return std::copysign(std::strtod((head + std::string(cut, '0')).c_str(), nullptr), value);
}

}  // namespace

Value Round(CallFrame& call) {
  const Value& value = call[0];
  const std::string_view method = call.has(2) && call[2].is_string()
                                      ? call[2].text()
                                      : std::string_view(call.has(2) ? "" : "common");
  if (method != "common" && method != "ceil" && method != "floor") {
    RuntimeError("method must be common, ceil or floor");
  }
  if (method == "common") {
    if (call.has(1) && call[1].is_none()) {
      if (value.is_integral()) return Positive(value);
      if (value.is(Kind::kFloat)) return Value(Truncated(std::nearbyint(value.floating())));
    }
    if (!value.is_number()) TypeError("type ", TypeName(value), " doesn't define __round__ method");
    const int64_t digits = call.has(1) ? ToIndex64(call[1]) : 0;
    if (value.is_integral())
      return digits >= 0 ? Positive(value) : RoundInt(value.integer(), -digits);
    const double rounded = RoundFloat(value.floating(), digits);
    if (std::isinf(rounded) && std::isfinite(value.floating())) {
      Throw(ErrorKind::kArithmetic, "rounded value too large to represent");
    }
    return Value(rounded);
  }
  const Value factor = Power(Value(10), call.has(1) ? call[1] : Value(0));
  const Value scaled = Multiply(value, factor);
  if (!scaled.is_number()) TypeError("must be real number, not ", TypeName(scaled));
  Value whole = Positive(scaled);
  if (scaled.is(Kind::kFloat)) {
    whole = Value(
        Truncated(method == "ceil" ? std::ceil(scaled.floating()) : std::floor(scaled.floating())));
  }
  return Divide(whole, factor);
}

Value FileSizeFormat(CallFrame& call) {
  const double bytes = FloatOf(call[0]);
  const bool binary = call.has(1) && Truth(call[1]);
  const double base = binary ? 1024 : 1000;
  static constexpr const char* kDecimal[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
  static constexpr const char* kBinary[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
  if (bytes == 1) return Value("1 Byte");
  if (bytes < base) return Value(IntText(Truncated(bytes)) + " Bytes");
  double unit = base;
  size_t prefix = 0;
  for (; prefix < 8; ++prefix) {
    unit *= base;
    if (bytes < unit) break;
  }
  prefix = std::min<size_t>(prefix, 7);
  return Value(FormatDouble(base * bytes / unit, 'f', 1, false) + " " +
               (binary ? kBinary : kDecimal)[prefix]);
}

Value Sum(CallFrame& call) {
  Value total = call.has(2) ? call[2] : Value(0);
  if (total.is_string()) TypeError("sum() can't sum strings [use ''.join(seq) instead]");
  const AttributePath path(call.given(1) ? call[1] : Value());
  const Ref<IteratorObject> iterator = Iterate(call[0]);
  Value item;
  while (iterator->Next(&item)) {
    Step();
    total = Add(total, path.Get(call.interpreter, item));
  }
  return total;
}

}  // namespace shardline::jinja::filters
