// Python's arithmetic on template values.
#include <cmath>

#include "gateway/text/jinja/format.h"
#include "gateway/text/jinja/python.h"

namespace shardline::jinja {

namespace {

[[noreturn]] void Unsupported(const char* symbol, const Value& a, const Value& b) {
  if (a.is_undefined()) FailUndefined(a);
  if (b.is_undefined()) FailUndefined(b);
  TypeError("unsupported operand type(s) for ", symbol, ": '", TypeName(a), "' and '", TypeName(b),
            "'");
}

[[noreturn]] void Overflow() {
  Throw(ErrorKind::kArithmetic, "an integer needs more than 128 bits");
}
[[noreturn]] void DivisionByZero(const char* message) { Throw(ErrorKind::kArithmetic, message); }

Value Concatenate(const Value& a, const Value& b) {
  const bool markup = a.string().markup || b.string().markup;
  TextBuilder builder;
  builder.Append(markup ? EscapeHtml(a) : a);
  builder.Append(markup ? EscapeHtml(b) : b);
  return builder.Build(markup);
}

Value Joined(const Value& a, const Value& b) {
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return a.is(Kind::kList) ? MakeList(std::move(items)) : MakeTuple(std::move(items));
}

bool IsRepeatable(const Value& value) {
  return value.is_string() || value.is(Kind::kList) || value.is(Kind::kTuple);
}

Value Repeat(const Value& sequence, const Value& times) {
  if (!times.is_integral()) {
    if (times.is_undefined()) FailUndefined(times);
    TypeError("can't multiply sequence by non-int of type '", TypeName(times), "'");
  }
  const auto count = static_cast<size_t>(times.integer() > 0 ? times.integer() : 0);
  if (times.integer() > (Int{1} << 40)) LimitError("a sequence is repeated too often");
  if (sequence.is_string()) {
    const StringObject& string = sequence.string();
    TextBuilder builder;
    if (string.marks.empty()) {
      builder.AppendRepeated(string.text, count);
    } else {
      CheckTextSize(string.text.size() * count);
      for (size_t i = 0; i < count; ++i) builder.Append(string);
    }
    return builder.Build(string.markup);
  }
  const auto& items = sequence.items();
  const size_t limit = CurrentBudget().max_live_bytes / sizeof(Value);
  if (!items.empty() && count > limit / items.size()) LimitError("a list has too many elements");
  std::vector<Value> repeated;
  repeated.reserve(items.size() * count);
  for (size_t i = 0; i < count; ++i) repeated.insert(repeated.end(), items.begin(), items.end());
  return sequence.is(Kind::kList) ? MakeList(std::move(repeated)) : MakeTuple(std::move(repeated));
}

Int FloorQuotient(Int a, Int b) {
  if (b == -1 && a == -a && a != 0) Overflow();
  const Int quotient = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

double FloorRemainder(double a, double b) {
  double remainder = std::fmod(a, b);
  if (remainder != 0) {
    if ((b < 0) != (remainder < 0)) remainder += b;
  } else {
    remainder = std::copysign(0.0, b);
  }
  return remainder;
}

double FloorQuotient(double a, double b) {
  double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder != 0 && (b < 0) != (remainder < 0)) quotient -= 1.0;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floor = std::floor(quotient);
  return quotient - floor > 0.5 ? floor + 1.0 : floor;
}

}  // namespace

Value Add(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) {
    Int sum;
    if (__builtin_add_overflow(a.integer(), b.integer(), &sum)) Overflow();
    return Value(sum);
  }
  if (a.is_number() && b.is_number()) return Value(ToDouble(a) + ToDouble(b));
  if (a.is_string() && b.is_string()) return Concatenate(a, b);
  if (a.kind() == b.kind() && (a.is(Kind::kList) || a.is(Kind::kTuple))) return Joined(a, b);
  if (a.is_undefined() || b.is_undefined()) Unsupported("+", a, b);
  if (a.is_string() && !a.string().markup) {
    TypeError("can only concatenate str (not \"", TypeName(b), "\") to str");
  }
  if (a.is(Kind::kList) || a.is(Kind::kTuple)) {
    TypeError("can only concatenate ", TypeName(a), " (not \"", TypeName(b), "\") to ",
              TypeName(a));
  }
  Unsupported("+", a, b);
}

Value Subtract(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) {
    Int difference;
    if (__builtin_sub_overflow(a.integer(), b.integer(), &difference)) Overflow();
    return Value(difference);
  }
  if (a.is_number() && b.is_number()) return Value(ToDouble(a) - ToDouble(b));
  Unsupported("-", a, b);
}

Value Multiply(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) {
    Int product;
    if (__builtin_mul_overflow(a.integer(), b.integer(), &product)) Overflow();
    return Value(product);
  }
  if (a.is_number() && b.is_number()) return Value(ToDouble(a) * ToDouble(b));
  if (IsRepeatable(a)) return Repeat(a, b);
  if (IsRepeatable(b)) return Repeat(b, a);
  Unsupported("*", a, b);
}

Value Divide(const Value& a, const Value& b) {
  if (!a.is_number() || !b.is_number()) Unsupported("/", a, b);
  const double divisor = ToDouble(b);
  if (divisor == 0) {
    DivisionByZero(a.is_integral() && b.is_integral() ? "division by zero"
                                                      : "float division by zero");
  }
  if (a.is_integral() && b.is_integral()) {
    return Value(static_cast<double>(static_cast<long double>(a.integer()) /
                                     static_cast<long double>(b.integer())));
  }
  return Value(ToDouble(a) / divisor);
}

Value FloorDivide(const Value& a, const Value& b) {
  if (!a.is_number() || !b.is_number()) Unsupported("//", a, b);
  if (a.is_integral() && b.is_integral()) {
    if (b.integer() == 0) DivisionByZero("integer division or modulo by zero");
    return Value(FloorQuotient(a.integer(), b.integer()));
  }
  if (ToDouble(b) == 0) DivisionByZero("float floor division by zero");
  return Value(FloorQuotient(ToDouble(a), ToDouble(b)));
}

Value Modulo(const Value& a, const Value& b) {
  if (a.is_string()) return FormatPercent(a, b);
  if (!a.is_number() || !b.is_number()) Unsupported("%", a, b);
  if (a.is_integral() && b.is_integral()) {
    const Int divisor = b.integer();
    if (divisor == 0) DivisionByZero("integer modulo by zero");
    if (divisor == -1) return Value(Int{0});
    const Int remainder = a.integer() % divisor;
    return Value(remainder != 0 && (remainder < 0) != (divisor < 0) ? remainder + divisor
                                                                    : remainder);
  }
  if (ToDouble(b) == 0) DivisionByZero("float modulo");
  return Value(FloorRemainder(ToDouble(a), ToDouble(b)));
}

Value Power(const Value& a, const Value& b) {
  if (!a.is_number() || !b.is_number()) Unsupported("** or pow()", a, b);
  if (a.is_integral() && b.is_integral() && b.integer() >= 0) {
    Int base = a.integer(), exponent = b.integer(), result = 1;
    if (base == 0 || base == 1) return Value(exponent == 0 ? Int{1} : base);
    if (base == -1) return Value(exponent % 2 == 0 ? Int{1} : Int{-1});
    if (exponent > 127) Overflow();
    for (; exponent > 0; --exponent) {
      if (__builtin_mul_overflow(result, base, &result)) Overflow();
    }
    return Value(result);
  }
  const double base = ToDouble(a), exponent = ToDouble(b);
  if (base == 0 && exponent < 0) {
    DivisionByZero("0.0 cannot be raised to a negative power");
  }
  if (base < 0 && std::isfinite(base) && std::isfinite(exponent) &&
      std::floor(exponent) != exponent) {
    Throw(ErrorKind::kArithmetic, "a negative number has no real power with a fraction");
  }
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    Throw(ErrorKind::kArithmetic, "(34, 'Numerical result out of range')");
  }
  return Value(result);
}

Value Negate(const Value& value) {
  if (value.is_integral()) {
    Int negative;
    if (__builtin_sub_overflow(Int{0}, value.integer(), &negative)) Overflow();
    return Value(negative);
  }
  if (value.is(Kind::kFloat)) return Value(-value.floating());
  if (value.is_undefined()) FailUndefined(value);
  TypeError("bad operand type for unary -: '", TypeName(value), "'");
}

Value Positive(const Value& value) {
  if (value.is_integral()) return Value(value.integer());
  if (value.is(Kind::kFloat)) return value;
  if (value.is_undefined()) FailUndefined(value);
  TypeError("bad operand type for unary +: '", TypeName(value), "'");
}

}  // namespace shardline::jinja
