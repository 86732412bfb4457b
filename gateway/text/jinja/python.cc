// Truth, length, equality, order, hashes and containment, as Python defines them.
#include "gateway/text/jinja/python.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "gateway/text/jinja/loop.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja {

const char* TypeName(const Value& value) {
  switch (value.kind()) {
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return value.string().markup ? "Markup" : "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return value.as<SequenceObject>().group ? "_GroupTuple" : "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kRange:
      return "range";
    case Kind::kIterator:
      return value.as<IteratorObject>().type_name;
    case Kind::kView:
      switch (value.as<ViewObject>().view) {
        case ViewKind::kKeys:
          return "dict_keys";
        case ViewKind::kValues:
          return "dict_values";
        case ViewKind::kItems:
          return "dict_items";
      }
      return "dict_keys";
    case Kind::kFunction:
      return value.as<FunctionObject>().bound ? "builtin_function_or_method" : "function";
    case Kind::kMacro:
      return "Macro";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kCycler:
      return "Cycler";
    case Kind::kJoiner:
      return "Joiner";
    case Kind::kBlock:
      return "BlockReference";
    case Kind::kSelf:
      return "TemplateReference";
  }
  return "object";
}

std::string ObjectName(const Value& value) {
  switch (value.kind()) {
    case Kind::kNone:
      return "None";
    case Kind::kNamespace:
    case Kind::kCycler:
    case Kind::kJoiner:
      return Cat("jinja2.utils.", TypeName(value), " object");
    case Kind::kMacro:
    case Kind::kLoop:
    case Kind::kBlock:
    case Kind::kSelf:
    case Kind::kUndefined:
      return Cat("jinja2.runtime.", TypeName(value), " object");
    case Kind::kString:
      return value.string().markup ? "markupsafe.Markup object" : "str object";
    default:
      return Cat(TypeName(value), " object");
  }
}

void FailUndefined(const Value& undefined) {
  const auto& object = undefined.as<UndefinedObject>();
  Throw(object.error, object.message);
}

double ToDouble(const Value& number) {
  if (number.is(Kind::kFloat)) return number.floating();
  return static_cast<double>(number.integer());
}

Int ToIndex(const Value& value) {
  if (value.is_integral()) return value.integer();
  TypeError("'", TypeName(value), "' object cannot be interpreted as an integer");
}

int64_t ToIndex64(const Value& value) {
  const Int index = ToIndex(value);
  return static_cast<int64_t>(std::clamp<Int>(index, INT64_MIN, INT64_MAX));
}

bool Truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kNone:
    case Kind::kUndefined:
      return false;
    case Kind::kBool:
      return value.boolean();
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.floating() != 0;
    case Kind::kString:
      return !value.text().empty();
    case Kind::kList:
    case Kind::kTuple:
      return !value.items().empty();
    case Kind::kDict:
      return !value.dict().items.empty();
    case Kind::kView:
      return !value.as<ViewObject>().dict->items.empty();
    case Kind::kRange:
      return value.as<RangeObject>().size() > 0;
    case Kind::kLoop:
      return value.as<LoopObject>().Length() > 0;
    default:
      return true;
  }
}

size_t Length(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return value.string().ascii ? value.text().size() : CountCodePoints(value.text());
    case Kind::kList:
    case Kind::kTuple:
      return value.items().size();
    case Kind::kDict:
      return value.dict().items.size();
    case Kind::kView:
      return value.as<ViewObject>().dict->items.size();
    case Kind::kRange:
      return static_cast<size_t>(value.as<RangeObject>().size());
    case Kind::kLoop:
      return value.as<LoopObject>().Length();
    default:
      TypeError("object of type '", TypeName(value), "' has no len()");
  }
}

namespace {

// -1, 0, 1, or 2 when they have no order (NaN).
int CompareNumbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) {
    const Int x = a.integer(), y = b.integer();
    return x < y ? -1 : x > y ? 1 : 0;
  }
  if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) {
    const double x = a.floating(), y = b.floating();
    return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
  }
  if (a.is(Kind::kFloat)) {
    const int reversed = CompareNumbers(b, a);
    return reversed == 2 ? 2 : -reversed;
  }
  // An int and a float, exactly.
  const Int x = a.integer();
  const double y = b.floating();
  if (std::isnan(y)) return 2;
  if (y >= 0x1p127) return -1;
  if (y < -0x1p127) return 1;
  const double whole = std::trunc(y);
  const Int truncated = static_cast<Int>(whole);
  if (x != truncated) return x < truncated ? -1 : 1;
  return y > whole ? -1 : y < whole ? 1 : 0;
}

bool EqualItems(const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!Equal(a[i], b[i])) return false;
  }
  return true;
}

bool EqualRanges(const RangeObject& a, const RangeObject& b) {
  const int64_t size = a.size();
  if (size != b.size()) return false;
  if (size == 0) return true;
  return a.start == b.start && (size == 1 || a.step == b.step);
}

}  // namespace

bool Identical(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kNone:
      return true;
    case Kind::kBool:
      return a.boolean() == b.boolean();
    case Kind::kInt:
      return a.integer() == b.integer();
    case Kind::kFloat:
      return a.floating() == b.floating();
    case Kind::kString:
      return a.object() == b.object() || (a.text() == b.text() && CountCodePoints(a.text()) <= 1 &&
                                          !a.string().markup && !b.string().markup);
    case Kind::kTuple:
      return a.object() == b.object() || (a.items().empty() && b.items().empty());
    case Kind::kFunction:
      return !a.as<FunctionObject>().bound && !b.as<FunctionObject>().bound &&
             a.as<FunctionObject>().native == b.as<FunctionObject>().native;
    default:
      return a.object() == b.object();
  }
}

bool Equal(const Value& a, const Value& b) {
  Step();
  if (a.is_number() && b.is_number()) return CompareNumbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kNone:
    case Kind::kUndefined:
      return true;
    case Kind::kString:
      if (a.text().size() == b.text().size()) StepBytes(a.text().size());
      return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple:
      return a.object() == b.object() || EqualItems(a.items(), b.items());
    case Kind::kDict: {
      if (a.object() == b.object()) return true;
      if (a.dict().items.size() != b.dict().items.size()) return false;
      for (const auto& [key, value] : a.dict().items) {
        const Value* other = b.dict().Find(key);
        if (other == nullptr || !Equal(value, *other)) return false;
      }
      return true;
    }
    case Kind::kRange:
      return EqualRanges(a.as<RangeObject>(), b.as<RangeObject>());
    case Kind::kView: {
      const auto& x = a.as<ViewObject>();
      const auto& y = b.as<ViewObject>();
      if (x.view == ViewKind::kValues || y.view == ViewKind::kValues) return &x == &y;
      if (Length(a) != Length(b)) return false;
      for (const Value& item : Collect(a)) {
        if (!Contains(b, item)) return false;
      }
      return true;
    }
    case Kind::kFunction: {
      const auto& x = a.as<FunctionObject>();
      const auto& y = b.as<FunctionObject>();
      return x.native == y.native && x.bound == y.bound && Identical(x.self, y.self);
    }
    default:
      return a.object() == b.object();
  }
}

namespace {

const char* Symbol(Order order) {
  switch (order) {
    case Order::kLess:
      return "<";
    case Order::kLessEqual:
      return "<=";
    case Order::kGreater:
      return ">";
    case Order::kGreaterEqual:
      return ">=";
  }
  return "<";
}

bool Holds(Order order, int sign) {  // sign: of a - b
  switch (order) {
    case Order::kLess:
      return sign < 0;
    case Order::kLessEqual:
      return sign <= 0;
    case Order::kGreater:
      return sign > 0 && sign != 2;
    case Order::kGreaterEqual:
      return sign >= 0 && sign != 2;
  }
  return false;
}

bool CompareViews(const Value& a, Order order, const Value& b) {  // as sets
  const bool reversed = order == Order::kGreater || order == Order::kGreaterEqual;
  const Value& small = reversed ? b : a;
  const Value& large = reversed ? a : b;
  for (const Value& item : Collect(small)) {
    if (!Contains(large, item)) return false;
  }
  const bool strict = order == Order::kLess || order == Order::kGreater;
  return !strict || Length(small) < Length(large);
}

}  // namespace

bool Compare(const Value& a, Order order, const Value& b) {
  Step();
  if (a.is_number() && b.is_number()) {
    const int sign = CompareNumbers(a, b);
    return sign != 2 && Holds(order, sign);
  }
  if (a.is_undefined()) FailUndefined(a);
  if (b.is_undefined()) FailUndefined(b);
  if (a.is_string() && b.is_string()) {
    // Bytes of UTF-8 order as code points do.
    StepBytes(std::min(a.text().size(), b.text().size()));
    const int sign = a.text().compare(b.text());
    return Holds(order, sign < 0 ? -1 : sign > 0 ? 1 : 0);
  }
  if (a.kind() == b.kind() && (a.is(Kind::kList) || a.is(Kind::kTuple))) {
    const auto& x = a.items();
    const auto& y = b.items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!Equal(x[i], y[i])) return Compare(x[i], order, y[i]);
    }
    return Holds(order, x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0);
  }
  if (a.is(Kind::kView) && b.is(Kind::kView) && a.as<ViewObject>().view != ViewKind::kValues &&
      b.as<ViewObject>().view != ViewKind::kValues) {
    return CompareViews(a, order, b);
  }
  TypeError("'", Symbol(order), "' not supported between instances of '", TypeName(a), "' and '",
            TypeName(b), "'");
}

size_t HashText(std::string_view text) {
  StepBytes(text.size());
  return std::hash<std::string_view>{}(text);
}

size_t Hash(const Value& value) {
  Step();
  switch (value.kind()) {
    case Kind::kNone:
      return 0x9E3779B9;
    case Kind::kBool:
    case Kind::kInt:
      return std::hash<int64_t>{}(static_cast<int64_t>(value.integer()));
    case Kind::kFloat: {
      const double number = value.floating();
      if (std::trunc(number) == number && std::fabs(number) < 0x1p62) {
        return std::hash<int64_t>{}(static_cast<int64_t>(number));
      }
      if (std::trunc(number) == number && std::fabs(number) < 0x1p126) {
        return std::hash<int64_t>{}(static_cast<int64_t>(static_cast<Int>(number)));
      }
      return std::hash<double>{}(number);
    }
    case Kind::kString:
      return HashText(value.text());
    case Kind::kTuple: {
      size_t hash = 0x345678;
      for (const Value& item : value.items()) hash = hash * 1000003 ^ Hash(item);
      return hash;
    }
    case Kind::kUndefined:
      return 0x5EED;
    case Kind::kRange:
      return std::hash<int64_t>{}(value.as<RangeObject>().size());
    case Kind::kFunction:
      return std::hash<const void*>{}(value.as<FunctionObject>().native);
    case Kind::kList:
    case Kind::kDict:
    case Kind::kView:
      TypeError("unhashable type: '", TypeName(value), "'");
    default:
      return std::hash<const void*>{}(value.object());
  }
}

bool Contains(const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kString:
      if (!item.is_string()) {
        TypeError("'in <string>' requires string as left operand, not ", TypeName(item));
      }
      StepBytes(container.text().size());
      return FindText(container.text(), item.text()) != std::string_view::npos;
    case Kind::kDict:
      return container.dict().Find(item) != nullptr;
    case Kind::kView: {
      const auto& view = container.as<ViewObject>();
      if (view.view == ViewKind::kKeys) return view.dict->Find(item) != nullptr;
      if (view.view == ViewKind::kItems) {
        if (!item.is(Kind::kTuple) || item.items().size() != 2) return false;
        const Value* found = view.dict->Find(item.items()[0]);
        return found != nullptr && Equal(*found, item.items()[1]);
      }
      break;
    }
    case Kind::kList:
    case Kind::kTuple:
      for (const Value& element : container.items()) {
        if (Identical(element, item) || Equal(element, item)) return true;
      }
      return false;
    case Kind::kRange: {
      const auto& range = container.as<RangeObject>();
      if (!item.is_number()) return false;
      const double number = ToDouble(item);
      if (std::trunc(number) != number || std::fabs(number) > 0x1p53) return false;
      const auto at = static_cast<int64_t>(number);
      const bool inside = range.step > 0 ? at >= range.start && at < range.stop
                                         : at <= range.start && at > range.stop;
      return inside && (at - range.start) % range.step == 0;
    }
    case Kind::kNone:
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
    case Kind::kNamespace:
    case Kind::kFunction:
    case Kind::kMacro:
    case Kind::kCycler:
    case Kind::kJoiner:
    case Kind::kBlock:
    case Kind::kSelf:
      TypeError("argument of type '", TypeName(container), "' is not iterable");
    default:
      break;
  }
  const Ref<IteratorObject> iterator = Iterate(container);
  Value element;
  while (iterator->Next(&element)) {
    if (Identical(element, item) || Equal(element, item)) return true;
  }
  return false;
}

bool HasMarks(const Value& value) {
  Step();
  switch (value.kind()) {
    case Kind::kString:
      return !value.string().marks.empty();
    case Kind::kList:
    case Kind::kTuple:
      return std::any_of(value.items().begin(), value.items().end(), HasMarks);
    case Kind::kDict:
      return std::any_of(
          value.dict().items.begin(), value.dict().items.end(),
          [](const auto& item) { return HasMarks(item.first) || HasMarks(item.second); });
    case Kind::kView: {
      const auto& items = value.as<ViewObject>().dict->items;
      return std::any_of(items.begin(), items.end(), [](const auto& item) {
        return HasMarks(item.first) || HasMarks(item.second);
      });
    }
    case Kind::kNamespace: {
      // Attributes may hold the namespace itself: only what they hold directly counts.
      const auto& items = value.as<NamespaceObject>().attributes->items;
      return std::any_of(items.begin(), items.end(), [](const auto& item) {
        return !item.second.is(Kind::kNamespace) && item.second.is_string() &&
               HasMarks(item.second);
      });
    }
    default:
      return false;
  }
}

}  // namespace shardline::jinja
