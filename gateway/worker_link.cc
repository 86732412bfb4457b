#include "gateway/worker_link.h"

#include <algorithm>

namespace shardline {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

template <typename T>
void WorkerLink::Enqueue(const T& message) {
  std::lock_guard lock(mutex_);
  if (waiting_.empty()) {
    const absl::Status sent = channel_->Send(message, nanoseconds(0));
    // Another error means that the worker is gone: its end is noticed elsewhere, the message dies
    // with it.
    if (!absl::IsDeadlineExceeded(sent)) return;
  }
  waiting_.push_back(message);
  any_waiting_ = true;
  if (waiting_.size() > kMaxWaiting) channel_->Close();
}

void WorkerLink::Send(const Submit& message) { Enqueue(message); }
void WorkerLink::Send(const shardline::Cancel& message) { Enqueue(message); }
void WorkerLink::Send(const Pause& message) { Enqueue(message); }
void WorkerLink::Send(const Resume& message) { Enqueue(message); }

bool WorkerLink::Flush() {
  std::lock_guard lock(mutex_);
  while (!waiting_.empty()) {
    const absl::Status sent =
        std::visit([this](const auto& message) { return channel_->Send(message, nanoseconds(0)); },
                   waiting_.front());
    if (absl::IsDeadlineExceeded(sent)) return false;
    waiting_.pop_front();
  }
  any_waiting_ = false;
  return true;
}

absl::StatusOr<std::optional<Received>> WorkerLink::Receive(nanoseconds timeout) {
  if (any_waiting_ && !Flush()) timeout = std::min<nanoseconds>(timeout, milliseconds(2));
  return channel_->Receive(timeout);
}

}  // namespace shardline
