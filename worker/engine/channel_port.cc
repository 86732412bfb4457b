#include "worker/engine/channel_port.h"

namespace shardline {
namespace {

template <typename T>
absl::StatusOr<std::optional<Inbound>> Decoded(const Received& record) {
  SL_ASSIGN_OR_RETURN(T message, record.As<T>());
  return std::optional<Inbound>(std::move(message));
}

}  // namespace

absl::StatusOr<std::optional<Inbound>> ChannelPort::Receive(std::chrono::nanoseconds wait) {
  SL_ASSIGN_OR_RETURN(const std::optional<Received> record, channel_.Receive(wait));
  if (!record.has_value()) return std::optional<Inbound>();
  switch (record->kind) {
    case MessageKind::kSubmit:
      return Decoded<Submit>(*record);
    case MessageKind::kCancel:
      return Decoded<Cancel>(*record);
    case MessageKind::kPause:
      return Decoded<Pause>(*record);
    case MessageKind::kResume:
      return Decoded<Resume>(*record);
    case MessageKind::kShutdown:
      return Decoded<Shutdown>(*record);
    default:
      return InvalidArgument("the gateway sent a ", Name(record->kind), " (",
                             static_cast<int>(record->kind), "), which is no message to a worker");
  }
}

absl::Status ChannelPort::Send(const Outbound& message) {
  last_sent_ns_ = NowNs();
  return std::visit([this](const auto& m) { return channel_.Send(m, std::chrono::seconds(30)); },
                    message);
}

void ChannelPort::AtWork() {
  if (NowNs() - last_sent_ns_ < 1'000'000'000) return;
  last_sent_ns_ = NowNs();
  // A gateway that does not read is noticed where it matters.
  (void)channel_.Send(Progress{0, "step"}, std::chrono::nanoseconds(0));
}

}  // namespace shardline
