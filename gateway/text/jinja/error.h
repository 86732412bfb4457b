// Errors inside the template interpreter. They are C++ exceptions, because a template's own
// semantics are Python's (a lookup that fails becomes an undefined value, `x|int` catches a
// ValueError); they never leave Template::Parse and Template::Render, which turn them into
// absl::Status.
#pragma once

#include <string>

#include "shared/base/strings.h"

namespace shardline::jinja {

enum class ErrorKind {
  kSyntax,      // the template cannot be parsed
  kUndefined,   // an undefined value was used
  kSecurity,    // an attribute or method that the sandbox hides
  kType,        // Python's TypeError
  kValue,       // Python's ValueError
  kLookup,      // Python's KeyError and IndexError
  kArithmetic,  // division by zero, overflow
  kRuntime,     // any other failure while rendering
  kRaised,      // raise_exception(message)
  kLimit,       // a limit of RenderLimits was passed
};

struct Error {
  ErrorKind kind;
  std::string message;
  int line = 0;  // 0: the line that is being evaluated
};

template <typename... Parts>
[[noreturn]] void Throw(ErrorKind kind, const Parts&... parts) {
  throw Error{kind, Cat(parts...), 0};
}
template <typename... Parts>
[[noreturn]] void TypeError(const Parts&... parts) {
  Throw(ErrorKind::kType, parts...);
}
template <typename... Parts>
[[noreturn]] void ValueError(const Parts&... parts) {
  Throw(ErrorKind::kValue, parts...);
}
template <typename... Parts>
[[noreturn]] void LimitError(const Parts&... parts) {
  Throw(ErrorKind::kLimit, parts...);
}
template <typename... Parts>
[[noreturn]] void RuntimeError(const Parts&... parts) {
  Throw(ErrorKind::kRuntime, parts...);
}

}  // namespace shardline::jinja
