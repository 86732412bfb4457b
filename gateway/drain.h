// The server's orderly end, however it was asked for: by SIGTERM or by Drain calls. Tells whoever
// listens how far it is. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "shared/base/clock.h"

namespace shardline {

class Drain {
 public:
  struct Progress {
    uint32_t remaining_requests = 0;
    bool done = false;
    bool operator==(const Progress&) const = default;
  };
  // Called from the thread that drains, under no lock, while it lives.
  using Listener = std::function<void(const Progress&)>;

  // `wake` is called when draining is asked for, from any thread.
  explicit Drain(std::function<void()> wake) : wake_(std::move(wake)) {}

  // Asks for it. Of several deadlines the earliest holds.
  void Begin(Clock::time_point deadline);
  // Asks for it, and listens from now on.
  void Begin(Clock::time_point deadline, const std::shared_ptr<Listener>& listener);
  // When live requests are ended; nullopt: nobody has asked.
  std::optional<Clock::time_point> deadline() const;
  // Tells the listeners, if there is anything new.
  void Tell(const Progress& progress);

 private:
  const std::function<void()> wake_;
  mutable std::mutex mutex_;
  std::optional<Clock::time_point> deadline_;
  std::vector<std::weak_ptr<Listener>> listeners_;
  std::optional<Progress> told_;
};

}  // namespace shardline
