// Host names, listening sockets, and which of this machine's addresses reaches another.
#pragma once

#include <chrono>
#include <string>

#include "shared/base/status.h"

namespace shardline {

// Errors name `flag`, which gave host and port.
// A socket that listens at exactly this address. Errors: InvalidArgument (no such host),
// Unavailable (taken, or not an address of this machine).
absl::StatusOr<int> ListenAt(const std::string& host, int port, std::string_view flag);

// Connects, trying again until `deadline`, and says from which address it did. Errors:
// InvalidArgument (no such host), DeadlineExceeded with the last reason.
absl::StatusOr<std::string> AddressTowards(const std::string& host, int port,
                                           std::chrono::steady_clock::time_point deadline,
                                           std::string_view flag);

}  // namespace shardline
