#include "gateway/rpc/generate_call.h"

#include <chrono>

#include "gateway/rpc/status.h"
#include "shared/base/clock.h"

namespace shardline {
namespace {

using SystemClock = std::chrono::system_clock;

// The call's deadline on CLOCK_MONOTONIC; 0 when it has none, 1 when it is past.
uint64_t DeadlineNs(SystemClock::time_point deadline) {
  const auto left = deadline - SystemClock::now();
  if (left > std::chrono::hours(24 * 365)) return 0;
  if (left <= SystemClock::duration::zero()) return 1;
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
  return MonotonicNanoseconds() + static_cast<uint64_t>(ns);
}

class GenerateCall : public grpc::ServerWriteReactor<v1::GenerateEvent>,
                     public std::enable_shared_from_this<GenerateCall> {
 public:
  GenerateCall(const Gateway& gateway, grpc::CallbackServerContext* context)
      : gateway_(gateway), router_(gateway.router), deadline_(context->deadline()) {
    ++gateway_.open_streams;
  }
  ~GenerateCall() override { --gateway_.open_streams; }

  // Keeps itself alive until OnDone.
  void Start(std::shared_ptr<LiveRequest> request) {
    self_ = shared_from_this();
    request_ = std::move(request);
    request_->stream.SetListener([weak = weak_from_this()] {
      if (const auto call = weak.lock()) call->Advance();
    });
    Advance();
  }

 private:
  // Writes the next event unless one is on its way; after the last, finishes the call.
  void Advance() {
    {
      std::lock_guard lock(mutex_);
      if (writing_ || finished_) return;
      switch (request_->stream.Take(&event_)) {
        case EventStream::Next::kEmpty:
          return;
        case EventStream::Next::kEvent:
          writing_ = true;
          break;
        case EventStream::Next::kEnd:
          finished_ = true;
          break;
      }
    }
    // Nobody else gets past the flags above until this write, or the call, is done.
    if (finished_) return Finish(EndStatus());
    router_.Taken(request_);
    StartWrite(&event_);  // the last thing: the call may be done and gone before it returns
  }

  void OnWriteDone(bool ok) override {
    if (!ok) router_.Cancel(request_, Gone());
    {
      std::lock_guard lock(mutex_);
      writing_ = false;
    }
    Advance();
  }

  void OnCancel() override { router_.Cancel(request_, Gone()); }

  void OnDone() override {
    request_->stream.SetListener(nullptr);
    self_.reset();
  }

  Outcome Gone() const {
    return SystemClock::now() >= deadline_ ? Outcome::kDeadline : Outcome::kCancelled;
  }

  // OK for a stream that was sent to its end, with an `error` event too.
  grpc::Status EndStatus() const {
    if (!request_->discarded) return grpc::Status::OK;
    return *request_->outcome == Outcome::kDeadline
               ? grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "the deadline passed")
               : grpc::Status(grpc::StatusCode::CANCELLED, "the call was cancelled");
  }

  const Gateway& gateway_;
  Router& router_;
  const SystemClock::time_point deadline_;
  std::shared_ptr<GenerateCall> self_;
  std::shared_ptr<LiveRequest> request_;
  std::mutex mutex_;
  bool writing_ = false, finished_ = false;
  v1::GenerateEvent event_;
};

// A call that was refused before it began.
class RefusedCall : public grpc::ServerWriteReactor<v1::GenerateEvent> {
 public:
  explicit RefusedCall(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerWriteReactor<v1::GenerateEvent>* StartGenerateCall(const Gateway& gateway,
                                                               grpc::CallbackServerContext* context,
                                                               const v1::GenerateRequest& request) {
  auto live = StartGenerate(gateway, request, DeadlineNs(context->deadline()));
  if (!live.ok()) return new RefusedCall(ToGrpc(live.status()));
  const auto call = std::make_shared<GenerateCall>(gateway, context);
  call->Start(*std::move(live));
  return call.get();
}

}  // namespace shardline
