// Calls: native functions, macros, recursive loops, blocks.
#include <algorithm>

#include "gateway/text/jinja/interpreter.h"
#include "gateway/text/jinja/interpreter_state.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/tables.h"

namespace shardline::jinja {

Native::Native(std::string_view native_name, std::string_view spec, NativeFunction native_function)
    : name(native_name), function(native_function) {
  while (!spec.empty()) {
    const size_t end = std::min(spec.find(' '), spec.size());
    std::string_view word = spec.substr(0, end);
    spec.remove_prefix(std::min(end + 1, spec.size()));
    if (word == "/") {
      positional_only = true;
    } else if (word[0] == '*') {
      takes_rest = true;
    } else {
      const bool optional = word.back() == '=';
      if (optional) word.remove_suffix(1);
      parameters.push_back({std::string(word), optional});
    }
  }
}

Value Interpreter::CallNative(const Native& native, const Value& self, Arguments arguments) {
  Step();
  // A method may read all of its text, even when it answers with a number.
  if (self.is_string()) StepBytes(2 * self.text().size());
  CallFrame frame{*this, native, self, {}, {}};
  frame.bound.resize(native.parameters.size(), nullptr);
  const size_t count = arguments.positional.size();
  const size_t taken = std::min(count, frame.bound.size());
  for (size_t i = 0; i < taken; ++i) frame.bound[i] = &arguments.positional[i];
  if (count > taken) {
    if (!native.takes_rest) {
      TypeError(native.name, "() takes ", frame.bound.size(), " positional arguments but ", count,
                " were given");
    }
    frame.rest.positional.assign(arguments.positional.begin() + static_cast<ptrdiff_t>(taken),
                                 arguments.positional.end());
  }
  for (auto& [name, value] : arguments.keyword) {
    const auto parameter =
        native.positional_only
            ? native.parameters.end()
            : std::find_if(native.parameters.begin(), native.parameters.end(),
                           [&name = name](const auto& row) { return row.name == name; });
    if (parameter == native.parameters.end()) {
      if (!native.takes_rest) {
        TypeError(native.name, "() got an unexpected keyword argument '", name, "'");
      }
      frame.rest.keyword.emplace_back(name, value);
      continue;
    }
    const auto at = static_cast<size_t>(parameter - native.parameters.begin());
    if (frame.bound[at] != nullptr) {
      TypeError(native.name, "() got multiple values for argument '", name, "'");
    }
    frame.bound[at] = &value;
  }
  for (size_t i = 0; i < frame.bound.size(); ++i) {
    if (frame.bound[i] == nullptr && !native.parameters[i].optional) {
      TypeError(native.name, "() missing 1 required positional argument: '",
                native.parameters[i].name, "'");
    }
  }
  return native.function(frame);
}

Value Interpreter::ApplyFilter(const std::string& name, const Value& value, Arguments arguments) {
  const Native* native = FindFilter(name);
  if (native == nullptr) RuntimeError("No filter named ", ReprText(name), ".");
  arguments.positional.insert(arguments.positional.begin(), value);
  return CallNative(*native, Value(), std::move(arguments));
}

bool Interpreter::ApplyTest(const std::string& name, const Value& value, Arguments arguments) {
  const Native* native = FindTest(name);
  if (native == nullptr) RuntimeError("No test named ", ReprText(name), ".");
  arguments.positional.insert(arguments.positional.begin(), value);
  return Truth(CallNative(*native, Value(), std::move(arguments)));
}

Value Interpreter::Call(const Value& callee, Arguments arguments) {
  const auto no_keywords = [&](const char* what) {
    if (!arguments.keyword.empty()) TypeError(what, " takes no keyword arguments");
  };
  switch (callee.kind()) {
    case Kind::kFunction: {
      const auto& function = callee.as<FunctionObject>();
      return CallNative(*function.native, function.self, std::move(arguments));
    }
    case Kind::kMacro:
      return CallMacro(callee.as<MacroObject>(), std::move(arguments));
    case Kind::kLoop:
      no_keywords("loop()");
      if (callee.as<LoopObject>().statement == nullptr) {
        TypeError("The loop must have the 'recursive' marker to be called recursively.");
      }
      if (arguments.positional.size() != 1) TypeError("loop() takes exactly one argument");
      return CallLoop(callee.as<LoopObject>(), arguments.positional[0]);
    case Kind::kJoiner: {
      no_keywords("joiner()");
      auto& joiner = callee.as<JoinerObject>();
      if (joiner.used) return joiner.separator;
      joiner.used = true;
      return Value("");
    }
    case Kind::kBlock: {
      TextBuilder buffer;
      TextBuilder* const before = std::exchange(out_, &buffer);
      ExecuteBlock(*callee.as<BlockObject>().block, template_scope_);
      out_ = before;
      return buffer.Build(autoescape_);
    }
    case Kind::kUndefined:
      FailUndefined(callee);
    default:
      TypeError("'", TypeName(callee), "' object is not callable");
  }
}

std::optional<Value> Interpreter::BlockNamed(std::string_view name) {
  const auto block = tree_.blocks.find(name);
  if (block == tree_.blocks.end()) return std::nullopt;
  auto object = Make<BlockObject>();
  object->block = block->second;
  return Value(Kind::kBlock, object);
}

Value Interpreter::NewNamespace(Ref<DictObject> attributes) {
  auto space = Make<NamespaceObject>();
  space->Charge(sizeof(NamespaceObject) + sizeof(DictObject));
  space->attributes = std::move(attributes);
  namespaces_.push_back(space);
  return Value(Kind::kNamespace, space);
}

Value Interpreter::Capture(const Body& body, Flow* flow) {
  TextBuilder buffer;
  TextBuilder* const before = std::exchange(out_, &buffer);
  *flow = Execute(body);
  out_ = before;
  return buffer.Build(autoescape_);
}

Value Interpreter::MakeMacro(const MacroNode& node, const std::string& name) {
  for (Scope* scope = scope_.get(); scope != nullptr && !scope->captured;
       scope = scope->parent.get()) {
    scope->captured = true;
    scope->Charge(sizeof(Scope));
    captured_.emplace_back(scope);
  }
  auto macro = Make<MacroObject>();
  macro->Charge(sizeof(MacroObject));
  macro->node = &node;
  macro->scope = scope_.get();
  macro->name = name;
  return Value(Kind::kMacro, macro);
}

Value Interpreter::CallMacro(const MacroObject& macro, Arguments arguments) {
  const Recursion recursion(this);
  const MacroNode& node = *macro.node;
  const size_t count = node.parameters.size();
  const std::string name = macro.name.empty() ? "None" : ReprText(macro.name);
  const auto take = [&](const std::string& wanted) -> std::optional<Value> {
    for (auto it = arguments.keyword.begin(); it != arguments.keyword.end(); ++it) {
      if (it->first != wanted) continue;
      Value value = std::move(it->second);
      arguments.keyword.erase(it);
      return value;
    }
    return std::nullopt;
  };
  const ScopeRef scope = NewScope(ScopeRef(macro.scope), node.unset);
  std::vector<size_t> missing;
  for (size_t i = 0; i < count; ++i) {
    const auto& [slot, parameter] = node.parameters[i];
    std::optional<Value> value;
    if (i < arguments.positional.size()) {
      value = arguments.positional[i];
    } else {
      value = take(parameter);
    }
    if (!value.has_value()) missing.push_back(i);
    scope->Set(slot, value.has_value() ? std::move(*value)
                                       : MakeUndefined(Cat(ReprText(parameter), " is undefined")));
  }
  if (node.uses_caller && !node.explicit_caller) {
    std::optional<Value> caller = take("caller");
    const bool given = caller.has_value() && !caller->is_none();
    scope->Set(tree_.caller_slot, given ? *caller : MakeUndefined("No caller defined"));
  }
  if (node.uses_kwargs) {
    auto dict = Make<DictObject>();
    for (auto& [key, value] : arguments.keyword) dict->Set(Value(key), value);
    scope->Set(tree_.kwargs_slot, MakeDict(std::move(dict)));
  } else if (!arguments.keyword.empty()) {
    for (const auto& [key, value] : arguments.keyword) {
      if (key == "caller") {
        TypeError("macro ", name,
                  " was invoked with two values for the special caller argument. "
                  "This is most likely a bug.");
      }
    }
    TypeError("macro ", name, " takes no keyword argument ", ReprText(arguments.keyword[0].first));
  }
  if (node.uses_varargs) {
    const auto extra = static_cast<ptrdiff_t>(std::min(count, arguments.positional.size()));
    scope->Set(tree_.varargs_slot,
               MakeTuple({arguments.positional.begin() + extra, arguments.positional.end()}));
  } else if (arguments.positional.size() > count) {
    TypeError("macro ", name, " takes not more than ", count, " argument(s)");
  }

  const InScope inner(this, scope);
  for (const size_t i : missing) {
    const auto& [slot, parameter] = node.parameters[i];
    const size_t first_default = count - node.defaults.size();
    scope_->Set(slot, i >= first_default ? Evaluate(*node.defaults[i - first_default])
                                         : MakeUndefined(Cat("parameter ", ReprText(parameter),
                                                             " was not provided")));
  }
  Flow flow = Flow::kNormal;
  return Capture(node.body, &flow);
}

Value Interpreter::CallLoop(const LoopObject& loop, const Value& iterable) {
  const Recursion recursion(this);
  const InScope inner(this, loop.scope);
  TextBuilder buffer;
  TextBuilder* const before = std::exchange(out_, &buffer);
  ExecuteFor(*loop.statement, iterable, loop.depth0 + 1);
  out_ = before;
  return buffer.Build(autoescape_);
}

}  // namespace shardline::jinja
