// Errors across process and file boundaries are absl::Status; this file holds the few helpers that
// make returning them short. An error is one line of text that names the flag or field to change.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "shared/base/strings.h"

namespace shardline {

template <typename... Parts>
absl::Status InvalidArgument(const Parts&... parts) {
  return absl::InvalidArgumentError(Cat(parts...));
}
template <typename... Parts>
absl::Status NotFound(const Parts&... parts) {
  return absl::NotFoundError(Cat(parts...));
}
template <typename... Parts>
absl::Status Unavailable(const Parts&... parts) {
  return absl::UnavailableError(Cat(parts...));
}
template <typename... Parts>
absl::Status FailedPrecondition(const Parts&... parts) {
  return absl::FailedPreconditionError(Cat(parts...));
}
template <typename... Parts>
absl::Status ResourceExhausted(const Parts&... parts) {
  return absl::ResourceExhaustedError(Cat(parts...));
}
template <typename... Parts>
absl::Status DeadlineExceeded(const Parts&... parts) {
  return absl::DeadlineExceededError(Cat(parts...));
}
template <typename... Parts>
absl::Status Internal(const Parts&... parts) {
  return absl::InternalError(Cat(parts...));
}

// The message as a std::string (Debian's absl::string_view is a type of its own).
inline std::string Message(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

// The same error with "prefix: " in front of its message.
inline absl::Status Annotate(const absl::Status& status, std::string_view prefix) {
  if (status.ok()) return status;
  return absl::Status(status.code(), Cat(prefix, ": ", Message(status)));
}

}  // namespace shardline

#define SL_STATUS_JOIN_(a, b) a##b
#define SL_STATUS_JOIN(a, b) SL_STATUS_JOIN_(a, b)

// Returns from the enclosing function when `expr` (an absl::Status) is not OK.
#define SL_RETURN_IF_ERROR(expr)                                            \
  do {                                                                      \
    if (absl::Status sl_status = (expr); !sl_status.ok()) return sl_status; \
  } while (false)

// SL_ASSIGN_OR_RETURN(auto x, F()): x = the value of F(), or returns F()'s error.
#define SL_ASSIGN_OR_RETURN(lhs, expr) \
  SL_ASSIGN_OR_RETURN_(SL_STATUS_JOIN(sl_statusor_, __LINE__), lhs, expr)
#define SL_ASSIGN_OR_RETURN_(tmp, lhs, expr) \
  auto tmp = (expr);                         \
  if (!tmp.ok()) return tmp.status();        \
  lhs = *std::move(tmp)
