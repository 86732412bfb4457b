// Errors that carry more than a line: the field of the request that is wrong, or when to try again.
// The details ride in the status as payloads, so that logic stays free of gRPC; rpc/status.cc turns
// them into google.rpc details.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "shared/base/status.h"

namespace shardline {

inline constexpr char kFieldPayload[] = "shardline/field";
inline constexpr char kRetryPayload[] = "shardline/retry-seconds";

// InvalidArgument "FIELD: …", with the field's path as payload.
template <typename... Parts>
absl::Status FieldError(std::string_view field, const Parts&... parts) {
  absl::Status status = InvalidArgument(field, ": ", parts...);
  status.SetPayload(kFieldPayload, absl::Cord(std::string(field)));
  return status;
}

// The same error told as one of `field` (InvalidArgument, whatever it was).
inline absl::Status AsFieldError(std::string_view field, const absl::Status& status) {
  return FieldError(field, Message(status));
}

template <typename... Parts>
absl::Status RetryLater(double seconds, const Parts&... parts) {
  absl::Status status = ResourceExhausted(parts...);
  status.SetPayload(kRetryPayload, absl::Cord(Cat(seconds)));
  return status;
}

inline std::optional<std::string> FieldOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kFieldPayload);
  if (!payload.has_value()) return std::nullopt;
  return std::string(*payload);
}

inline std::optional<double> RetrySecondsOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryPayload);
  if (!payload.has_value()) return std::nullopt;
  return std::strtod(std::string(*payload).c_str(), nullptr);
}

}  // namespace shardline
