// The table of tests: `x is name`.
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/string_methods.h"
#include "gateway/text/jinja/tables.h"

namespace shardline::jinja {

namespace {

using Call = CallFrame;

bool RemainderIs(const Value& value, const Value& divisor, int remainder) {
  return Equal(Modulo(value, divisor), Value(remainder));
}

bool IsSequence(const Value& value) {
  switch (value.kind()) {
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kRange:
    case Kind::kUndefined:
      return true;
    default:
      return false;
  }
}

bool IsIterable(const Value& value) {
  switch (value.kind()) {
    case Kind::kIterator:
    case Kind::kView:
    case Kind::kLoop:
      return true;
    default:
      return IsSequence(value);
  }
}

bool IsCallable(const Value& value) {
  switch (value.kind()) {
    case Kind::kFunction:
    case Kind::kMacro:
    case Kind::kLoop:
    case Kind::kJoiner:
    case Kind::kBlock:
    case Kind::kUndefined:
      return true;
    default:
      return false;
  }
}

// Python's `name in table`, which needs something that can be hashed.
bool IsNamed(const Value& name, const Native* (*find)(std::string_view)) {
  Hash(name);
  return name.is_string() && find(name.text()) != nullptr;
}

#define TEST(expression) [](Call& c) { return Value(static_cast<bool>(expression)); }

const std::vector<Native>& Tests() {
  static const std::vector<Native> table = {
      {"odd", "value", TEST(RemainderIs(c[0], Value(2), 1))},
      {"even", "value", TEST(RemainderIs(c[0], Value(2), 0))},
      {"divisibleby", "value num", TEST(RemainderIs(c[0], c[1], 0))},
      {"defined", "value", TEST(!c[0].is_undefined())},
      {"undefined", "value", TEST(c[0].is_undefined())},
      {"filter", "value", TEST(IsNamed(c[0], FindFilter))},
      {"test", "value", TEST(IsNamed(c[0], FindTest))},
      {"none", "value", TEST(c[0].is_none())},
      {"boolean", "value", TEST(c[0].is(Kind::kBool))},
      {"false", "value", TEST(c[0].is(Kind::kBool) && !c[0].boolean())},
      {"true", "value", TEST(c[0].is(Kind::kBool) && c[0].boolean())},
      {"integer", "value", TEST(c[0].is(Kind::kInt))},
      {"float", "value", TEST(c[0].is(Kind::kFloat))},
      {"lower", "value", TEST(IsLowerText(ToStr(c[0]).text()))},
      {"upper", "value", TEST(IsUpperText(ToStr(c[0]).text()))},
      {"string", "value", TEST(c[0].is_string())},
      {"mapping", "value", TEST(c[0].is(Kind::kDict))},
      {"number", "value", TEST(c[0].is_number())},
      {"sequence", "value", TEST(IsSequence(c[0]))},
      {"iterable", "value", TEST(IsIterable(c[0]))},
      {"callable", "/ obj", TEST(IsCallable(c[0]))},
      {"sameas", "value other", TEST(Identical(c[0], c[1]))},
      {"escaped", "value", TEST(c[0].is_string() && c[0].string().markup)},
      {"in", "value seq", TEST(Contains(c[1], c[0]))},
      {"==", "/ a b", TEST(Equal(c[0], c[1]))},
      {"eq", "/ a b", TEST(Equal(c[0], c[1]))},
      {"equalto", "/ a b", TEST(Equal(c[0], c[1]))},
      {"!=", "/ a b", TEST(!Equal(c[0], c[1]))},
      {"ne", "/ a b", TEST(!Equal(c[0], c[1]))},
      {">", "/ a b", TEST(Compare(c[0], Order::kGreater, c[1]))},
      {"gt", "/ a b", TEST(Compare(c[0], Order::kGreater, c[1]))},
      {"greaterthan", "/ a b", TEST(Compare(c[0], Order::kGreater, c[1]))},
      {">=", "/ a b", TEST(Compare(c[0], Order::kGreaterEqual, c[1]))},
      {"ge", "/ a b", TEST(Compare(c[0], Order::kGreaterEqual, c[1]))},
      {"<", "/ a b", TEST(Compare(c[0], Order::kLess, c[1]))},
      {"lt", "/ a b", TEST(Compare(c[0], Order::kLess, c[1]))},
      {"lessthan", "/ a b", TEST(Compare(c[0], Order::kLess, c[1]))},
      {"<=", "/ a b", TEST(Compare(c[0], Order::kLessEqual, c[1]))},
      {"le", "/ a b", TEST(Compare(c[0], Order::kLessEqual, c[1]))},
  };
  return table;
}

#undef TEST

}  // namespace

const Native* FindTest(std::string_view name) { return FindIn(Tests(), name); }

const Native* FindIn(const std::vector<Native>& table, std::string_view name) {
  for (const Native& row : table) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace shardline::jinja
