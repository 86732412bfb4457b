// The filters that apply another filter or a test to every item: map, select and their relatives.
#include <functional>

#include "gateway/text/jinja/attribute_path.h"
#include "gateway/text/jinja/filters.h"
#include "gateway/text/jinja/interpreter.h"
#include "gateway/text/jinja/python.h"

namespace shardline::jinja::filters {

namespace {

Value* TakeKeyword(Arguments* arguments, std::string_view name, Value* value) {
  for (auto it = arguments->keyword.begin(); it != arguments->keyword.end(); ++it) {
    if (it->first != name) continue;
    *value = std::move(it->second);
    arguments->keyword.erase(it);
    return value;
  }
  return nullptr;
}

std::string NameArgument(const Value& value, const char* what) {
  if (!value.is_string()) {
    Hash(value);
    RuntimeError("No ", what, " named ", ToRepr(value), ".");
  }
  return std::string(value.text());
}

std::vector<Value> Holds(const Value& value, const Arguments& arguments) {
  std::vector<Value> holds = arguments.positional;
  for (const auto& [name, argument] : arguments.keyword) holds.push_back(argument);
  holds.push_back(value);
  return holds;
}

// What map() does to an item.
using Transform = std::function<Value(const Value&)>;

Transform PrepareMap(Interpreter& interpreter, Arguments arguments) {
  Value attribute, fallback;
  if (arguments.positional.empty() && TakeKeyword(&arguments, "attribute", &attribute) != nullptr) {
    TakeKeyword(&arguments, "default", &fallback);
    if (!arguments.keyword.empty()) {
      RuntimeError("Unexpected keyword argument ", ReprText(arguments.keyword[0].first));
    }
    const AttributePath path(attribute);
    return [&interpreter, path, fallback](const Value& item) {
      return path.Get(interpreter, item, &fallback);
    };
  }
  if (arguments.positional.empty()) RuntimeError("map requires a filter argument");
  const std::string name = NameArgument(arguments.positional[0], "filter");
  arguments.positional.erase(arguments.positional.begin());
  return [&interpreter, name, arguments](const Value& item) {
    return interpreter.ApplyFilter(name, item, arguments);
  };
}

using Predicate = std::function<bool(const Value&)>;

Predicate PrepareSelect(Interpreter& interpreter, Arguments arguments, bool by_attribute) {
  AttributePath path{Value()};
  if (by_attribute) {
    if (arguments.positional.empty()) RuntimeError("Missing parameter for attribute name");
    path = AttributePath(arguments.positional[0]);
    arguments.positional.erase(arguments.positional.begin());
  }
  if (arguments.positional.empty()) {
    return [&interpreter, path](const Value& item) { return Truth(path.Get(interpreter, item)); };
  }
  const Value name = arguments.positional[0];
  arguments.positional.erase(arguments.positional.begin());
  return [&interpreter, path, name, arguments](const Value& item) {
    return interpreter.ApplyTest(NameArgument(name, "test"), path.Get(interpreter, item),
                                 arguments);
  };
}

}  // namespace

Value Map(CallFrame& call) {
  Interpreter& interpreter = call.interpreter;
  const Value value = call[0];
  const Arguments arguments = call.rest;
  Ref<IteratorObject> source;
  Transform transform;
  return MakeGenerator(
      [&interpreter, value, arguments, source, transform](Value* item) mutable {
        CheckStack();
        if (!source) {
          if (!Truth(value)) return false;
          transform = PrepareMap(interpreter, arguments);
          source = Iterate(value);
        }
        Value next;
        if (!source->Next(&next)) return false;
        *item = transform(next);
        return true;
      },
      Holds(value, arguments));
}

Value SelectOrReject(CallFrame& call, bool select, bool by_attribute) {
  Interpreter& interpreter = call.interpreter;
  const Value value = call[0];
  const Arguments arguments = call.rest;
  Ref<IteratorObject> source;
  Predicate holds;
  return MakeGenerator(
      [&interpreter, value, arguments, source, holds, select, by_attribute](Value* item) mutable {
        CheckStack();
        if (!source) {
          if (!Truth(value)) return false;
          holds = PrepareSelect(interpreter, arguments, by_attribute);
          source = Iterate(value);
        }
        while (source->Next(item)) {
          Step();
          if (holds(*item) == select) return true;
        }
        return false;
      },
      Holds(value, arguments));
}

}  // namespace shardline::jinja::filters
