// HOST:PORT, host names, listening sockets, and which of this machine's addresses reaches another.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "shared/base/status.h"

namespace shardline {

struct TcpAddress {
  std::string host;  // without the brackets of an IPv6 address
  int port = 0;
};

// Errors name `flag`, which gave host and port.

// "HOST:PORT", "[::1]:PORT"; the port from 1 on. Error: InvalidArgument.
absl::StatusOr<TcpAddress> ParseTcpAddress(std::string_view text, std::string_view flag);

// A socket that listens at exactly this address. Errors: InvalidArgument (no such host),
// Unavailable (taken, or not an address of this machine).
absl::StatusOr<int> ListenAt(const std::string& host, int port, std::string_view flag);

// Connects, trying again until `deadline`, and says from which address it did. Errors:
// InvalidArgument (no such host), DeadlineExceeded with the last reason.
absl::StatusOr<std::string> AddressTowards(const std::string& host, int port,
                                           std::chrono::steady_clock::time_point deadline,
                                           std::string_view flag);

}  // namespace shardline
