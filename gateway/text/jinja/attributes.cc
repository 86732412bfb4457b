// Attribute and item access with the rules of Jinja's immutable sandbox.
#include <algorithm>
#include <optional>

#include "gateway/text/jinja/interpreter.h"
#include "gateway/text/jinja/loop.h"
#include "gateway/text/jinja/macro.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/tables.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja {

namespace {

// Attributes with underscores that every Python object has: they exist, but the sandbox hides them.
bool IsObjectAttribute(std::string_view name) {
  static constexpr std::string_view kNames[] = {
      "__class__",   "__delattr__", "__dir__",           "__doc__",         "__eq__",
      "__format__",  "__ge__",      "__getattribute__",  "__getstate__",    "__gt__",
      "__hash__",    "__init__",    "__init_subclass__", "__le__",          "__lt__",
      "__ne__",      "__new__",     "__reduce__",        "__reduce_ex__",   "__repr__",
      "__setattr__", "__sizeof__",  "__str__",           "__subclasshook__"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

bool IsContainerAttribute(std::string_view name) {
  return name == "__len__" || name == "__getitem__" || name == "__contains__" || name == "__iter__";
}

Value Unsafe(const Value& object, std::string_view name) {
  return MakeUndefined(
      Cat("access to attribute ", ReprText(name), " of '", TypeName(object), "' object is unsafe."),
      ErrorKind::kSecurity);
}

Value MissingAttribute(const Value& object, std::string_view name) {
  return MakeUndefined(Cat("'", ObjectName(object), "' has no attribute ", ReprText(name)));
}

Value MissingItem(const Value& object, const Value& key) {
  if (key.is_string()) return MissingAttribute(object, key.text());
  return MakeUndefined(Cat(ObjectName(object), " has no element ", ToRepr(key)));
}

std::optional<Value> MacroAttribute(const MacroObject& macro, std::string_view name) {
  const MacroNode& node = *macro.node;
  if (name == "name") return macro.name.empty() ? Value() : Value(macro.name);
  if (name == "arguments") {
    std::vector<Value> names;
    for (const auto& [slot, parameter] : node.parameters) names.emplace_back(parameter);
    return MakeTuple(std::move(names));
  }
  if (name == "catch_kwargs") return Value(node.uses_kwargs);
  if (name == "catch_varargs") return Value(node.uses_varargs);
  if (name == "caller") return Value(node.uses_caller);
  if (name == "explicit_caller") return Value(node.explicit_caller);
  return std::nullopt;
}

std::optional<Value> NumberAttribute(const Value& number, std::string_view name) {
  const bool integral = number.is_integral();
  if (name == "real" || (integral && name == "numerator")) return Positive(number);
  if (name == "imag") return integral ? Value(0) : Value(0.0);
  if (integral && name == "denominator") return Value(1);
  return std::nullopt;
}

// Attributes that are plain data, per kind of value.
std::optional<Value> DataAttribute(const Value& object, std::string_view name) {
  switch (object.kind()) {
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return NumberAttribute(object, name);
    case Kind::kNamespace: {
      const Value* found = object.as<NamespaceObject>().attributes->Find(name);
      return found != nullptr ? std::optional(*found) : std::nullopt;
    }
    case Kind::kTuple:
      if (object.as<SequenceObject>().group) {
        if (name == "grouper") return object.items()[0];
        if (name == "list") return object.items()[1];
      }
      return std::nullopt;
    case Kind::kRange: {
      const auto& range = object.as<RangeObject>();
      if (name == "start") return Value(range.start);
      if (name == "stop") return Value(range.stop);
      if (name == "step") return Value(range.step);
      return std::nullopt;
    }
    case Kind::kMacro:
      return MacroAttribute(object.as<MacroObject>(), name);
    case Kind::kLoop:
      return LoopAttribute(object, name);
    case Kind::kCycler: {
      const auto& cycler = object.as<CyclerObject>();
      if (name == "current") return cycler.items[cycler.position];
      if (name == "items") return MakeTuple(cycler.items);
      if (name == "pos") return Value(cycler.position);
      return std::nullopt;
    }
    case Kind::kJoiner:
      if (name == "sep") return object.as<JoinerObject>().separator;
      if (name == "used") return Value(object.as<JoinerObject>().used);
      return std::nullopt;
    case Kind::kBlock:
      if (name == "name") return Value(object.as<BlockObject>().block->name);
      if (name == "super") {
        return MakeUndefined(Cat("there is no parent block called ",
                                 ReprText(object.as<BlockObject>().block->name), "."));
      }
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

// Python's getattr behind the sandbox; none: AttributeError.
std::optional<Value> Attribute(const Value& object, std::string_view name) {
  if (const std::optional<Value> data = DataAttribute(object, name)) {
    return name.starts_with('_') ? Unsafe(object, name) : *data;
  }
  if (object.is(Kind::kNamespace)) {
    if (name == "__class__") return Unsafe(object, name);
    return std::nullopt;
  }
  if (IsMutatingMethod(object.kind(), name)) return Unsafe(object, name);
  if (const Native* method = FindMethod(object.kind(), name)) return MakeMethod(*method, object);
  if (name.starts_with('_')) {
    const bool container = object.is_string() || object.is(Kind::kList) ||
                           object.is(Kind::kTuple) || object.is(Kind::kDict) ||
                           object.is(Kind::kUndefined) || object.is(Kind::kRange);
    if (IsObjectAttribute(name) || (container && IsContainerAttribute(name))) {
      return Unsafe(object, name);
    }
  }
  if (object.is_undefined() && !(name.starts_with("__") && name.ends_with("__"))) {
    FailUndefined(object);
  }
  return std::nullopt;
}

// Python's object[key]; none: TypeError or LookupError, both of which Jinja forgives.
std::optional<Value> Subscript(Interpreter& interpreter, const Value& object, const Value& key) {
  switch (object.kind()) {
    case Kind::kUndefined:
      FailUndefined(object);
    case Kind::kDict:
      try {
        const Value* found = object.dict().Find(key);
        return found != nullptr ? std::optional(*found) : std::nullopt;
      } catch (const Error& error) {
        if (error.kind != ErrorKind::kType) throw;
        return std::nullopt;
      }
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange: {
      if (!key.is_integral()) return std::nullopt;
      const Int size = static_cast<Int>(Length(object));
      Int index = key.integer();
      if (index < 0) index += size;
      if (index < 0 || index >= size) return std::nullopt;
      const auto at = static_cast<size_t>(index);
      if (object.is(Kind::kRange)) {
        const auto& range = object.as<RangeObject>();
        return Value(range.start + static_cast<int64_t>(at) * range.step);
      }
      if (!object.is_string()) return object.items()[at];
      const StringObject& string = object.string();
      const size_t begin = string.ascii ? at : OffsetOf(string.text, at);
      if (!string.ascii) StepBytes(begin);
      return Substring(string, begin, begin + CodePointWidth(string.text, begin));
    }
    case Kind::kSelf:
      return key.is_string() ? interpreter.BlockNamed(key.text()) : std::nullopt;
    default:
      return std::nullopt;
  }
}

}  // namespace

Value GetAttribute(Interpreter& interpreter, const Value& object, std::string_view name) {
  if (const std::optional<Value> attribute = Attribute(object, name)) return *attribute;
  if (object.is(Kind::kDict)) {
    const Value* found = object.dict().Find(name);
    return found != nullptr ? *found : MissingAttribute(object, name);
  }
  if (const std::optional<Value> item = Subscript(interpreter, object, Value(name))) return *item;
  return MissingAttribute(object, name);
}

Value GetItem(Interpreter& interpreter, const Value& object, const Value& key) {
  if (const std::optional<Value> item = Subscript(interpreter, object, key)) return *item;
  if (key.is_string()) {
    if (const std::optional<Value> attribute = Attribute(object, key.text())) return *attribute;
  }
  return MissingItem(object, key);
}

namespace {

// The positions that a slice takes from a sequence of `size` elements.
struct SliceRange {
  int64_t start;
  int64_t step;
  int64_t count;
};

SliceRange ResolveSlice(int64_t size, const Value& start, const Value& stop, const Value& step) {
  const auto index = [](const Value& value) {
    if (!value.is_integral()) {
      if (value.is_undefined()) {
        TypeError("slice indices must be integers or None or have an __index__ method");
      }
      TypeError("slice indices must be integers or None or have an __index__ method");
    }
    return static_cast<int64_t>(std::clamp<Int>(value.integer(), -INT64_MAX / 2, INT64_MAX / 2));
  };
  const int64_t by = step.is_none() ? 1 : index(step);
  if (by == 0) ValueError("slice step cannot be zero");
  const int64_t low = by > 0 ? 0 : -1;
  const int64_t high = by > 0 ? size : size - 1;
  const auto clip = [&](const Value& bound, int64_t missing) {
    if (bound.is_none()) return missing;
    int64_t at = index(bound);
    if (at < 0) at += size;
    return std::clamp(at, low, high);
  };
  const int64_t begin = clip(start, by > 0 ? low : high);
  const int64_t end = clip(stop, by > 0 ? high : low);
  int64_t count = 0;
  if (by > 0 && begin < end) count = (end - begin - 1) / by + 1;
  if (by < 0 && begin > end) count = (begin - end - 1) / -by + 1;
  return {begin, by, count};
}

Value SliceString(const StringObject& string, const SliceRange& range) {
  if (range.step == 1) {
    const auto first = static_cast<size_t>(range.start);
    const auto last = static_cast<size_t>(range.start + range.count);
    if (string.ascii) return Substring(string, first, last);
    const size_t begin = OffsetOf(string.text, first);
    const size_t end = begin + OffsetOf(std::string_view(string.text).substr(begin), last - first);
    StepBytes(end);
    return Substring(string, begin, end);
  }
  std::vector<size_t> offsets;  // of every code point
  for (size_t offset = 0; offset < string.text.size();) {
    offsets.push_back(offset);
    offset += CodePointWidth(string.text, offset);
  }
  Step(offsets.size());
  TextBuilder builder;
  for (int64_t i = 0; i < range.count; ++i) {
    const size_t begin = offsets[static_cast<size_t>(range.start + i * range.step)];
    builder.Append(string, begin, begin + CodePointWidth(string.text, begin));
  }
  return builder.Build(string.markup);
}

}  // namespace

Value Slice(const Value& object, const Value& start, const Value& stop, const Value& step) {
  switch (object.kind()) {
    case Kind::kUndefined:
      FailUndefined(object);
    case Kind::kDict:
      TypeError("unhashable type: 'slice'");
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      break;
    default:
      TypeError("'", TypeName(object), "' object is not subscriptable");
  }
  const SliceRange range = ResolveSlice(static_cast<int64_t>(Length(object)), start, stop, step);
  if (object.is_string()) return SliceString(object.string(), range);
  if (object.is(Kind::kRange)) {
    const auto& source = object.as<RangeObject>();
    auto sliced = Make<RangeObject>();
    sliced->start = source.start + range.start * source.step;
    sliced->step = source.step * range.step;
    sliced->stop = sliced->start + range.count * sliced->step;
    return Value(Kind::kRange, sliced);
  }
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(range.count));
  for (int64_t i = 0; i < range.count; ++i) {
    items.push_back(object.items()[static_cast<size_t>(range.start + i * range.step)]);
  }
  return object.is(Kind::kList) ? MakeList(std::move(items)) : MakeTuple(std::move(items));
}

}  // namespace shardline::jinja
