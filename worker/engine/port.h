// The engine's side of the channel: decoded messages in, messages out. worker/main.cc puts the
// shared-memory channel behind it; tests put a list.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <variant>

#include "shared/base/status.h"
#include "shared/ipc/message.h"

namespace shardline {

using Inbound = std::variant<Submit, Cancel, Pause, Resume, Shutdown>;
using Outbound = std::variant<Tokens, Prompt, Finished, Failed, StepReport>;

class Port {
 public:
  virtual ~Port() = default;
  // The next message, or nullopt after `wait` (0: only looks). An error ends the worker.
  virtual absl::StatusOr<std::optional<Inbound>> Receive(std::chrono::nanoseconds wait) = 0;
  virtual absl::Status Send(const Outbound& message) = 0;
  // Tells, at most once a second, that the step at hand goes on.
  virtual void AtWork() {}
  virtual uint64_t NowNs() const = 0;  // CLOCK_MONOTONIC
};

}  // namespace shardline
