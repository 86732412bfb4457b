// The engine's port on the shared-memory channel to the gateway.
#pragma once

#include "shared/ipc/channel.h"
#include "worker/engine/port.h"

namespace shardline {

class ChannelPort final : public Port {
 public:
  explicit ChannelPort(Channel& channel) : channel_(channel) {}

  // Errors: the channel's; InvalidArgument for a record that is no message to a worker.
  absl::StatusOr<std::optional<Inbound>> Receive(std::chrono::nanoseconds wait) override;
  // Waits for room in the ring; a gateway that reads nothing for 30 s is as good as gone.
  absl::Status Send(const Outbound& message) override;
  void AtWork() override;
  uint64_t NowNs() const override { return MonotonicNanoseconds(); }

 private:
  Channel& channel_;
  uint64_t last_sent_ns_ = 0;
};

}  // namespace shardline
