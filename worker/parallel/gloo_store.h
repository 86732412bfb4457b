// The store of keys in which ranks of several hosts meet: libtorch's TCPStore, held by rank 0. What
// it throws stays behind this border. It asks nobody who they are.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "shared/base/status.h"

namespace c10d {
class Store;
}

namespace shardline {

// Errors: Unavailable. A call may block for as long as the store's process is stopped or its host
// cannot be reached: call from a thread that can be left behind.
class GlooStore {
 public:
  // Rank 0: `listen_fd` listens at host:port and is taken over. The others: -1, to connect.
  static absl::StatusOr<std::shared_ptr<GlooStore>> Open(const std::string& host, int port,
                                                         int listen_fd,
                                                         std::chrono::milliseconds timeout);
  virtual ~GlooStore() = default;

  virtual absl::Status Set(const std::string& key, const std::string& value) = 0;
  virtual absl::StatusOr<std::optional<std::string>> Get(const std::string& key) = 0;

  virtual c10d::Store& raw() = 0;
};

}  // namespace shardline
