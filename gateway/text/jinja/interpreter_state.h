// Guards of the interpreter's state, shared by its files.
#pragma once

#include "gateway/text/jinja/interpreter.h"

namespace shardline::jinja {

// Makes `scope` the current one.
class Interpreter::InScope {
 public:
  InScope(Interpreter* interpreter, ScopeRef scope)
      : interpreter_(interpreter), before_(std::move(interpreter->scope_)) {
    interpreter->scope_ = std::move(scope);
  }
  ~InScope() { interpreter_->scope_ = std::move(before_); }
  InScope(const InScope&) = delete;
  InScope& operator=(const InScope&) = delete;

  const ScopeRef& outer() const { return before_; }

 private:
  Interpreter* interpreter_;
  ScopeRef before_;
};

// One call within the calls that are running.
class Interpreter::Recursion {
 public:
  explicit Recursion(Interpreter* interpreter) : interpreter_(interpreter) {
    if (interpreter->calls_ >= static_cast<int>(interpreter->options_.limits.calls)) {
      LimitError("macros call each other more than ", interpreter->options_.limits.calls,
                 " levels deep");
    }
    ++interpreter->calls_;
  }
  ~Recursion() { --interpreter_->calls_; }
  Recursion(const Recursion&) = delete;
  Recursion& operator=(const Recursion&) = delete;

 private:
  Interpreter* interpreter_;
};

}  // namespace shardline::jinja
