#include "gateway/rpc/generate_call.h"

#include <atomic>
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

  // Lives until OnDone, whoever lets go of it.
  void HoldSelf() { self_ = shared_from_this(); }

  // Checks and admits the request, then writes its events.
  void Begin(const v1::GenerateRequest& request) {
    if (cancelled_) return Refuse(absl::CancelledError("the call was cancelled"));
    auto live = StartGenerate(gateway_, request, DeadlineNs(deadline_));
    if (!live.ok()) return Finish(ToGrpc(live.status()));
    {
      std::lock_guard lock(mutex_);
      request_ = *std::move(live);
    }
    if (cancelled_) router_.Cancel(request_, Gone());
    request_->stream.SetListener([weak = weak_from_this()] {
      if (const auto call = weak.lock()) call->Advance();
    });
    Advance();
  }

  // Ends a call whose request was never looked at.
  void Refuse(const absl::Status& status) {
    gateway_.metrics.Rejected();
    Finish(ToGrpc(status));
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

  // Either Begin sees `cancelled_` after it has set `request_`, or this sees `request_`.
  void OnCancel() override {
    cancelled_ = true;
    std::shared_ptr<LiveRequest> request;
    {
      std::lock_guard lock(mutex_);
      request = request_;
    }
    if (request != nullptr) router_.Cancel(request, Gone());
  }

  void OnDone() override {
    if (request_ != nullptr) request_->stream.SetListener(nullptr);
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
  std::atomic<bool> cancelled_{false};
  v1::GenerateEvent event_;
};

}  // namespace

grpc::ServerWriteReactor<v1::GenerateEvent>* StartGenerateCall(const Gateway& gateway,
                                                               grpc::CallbackServerContext* context,
                                                               const v1::GenerateRequest& request) {
  const auto call = std::make_shared<GenerateCall>(gateway, context);
  call->HoldSelf();
  if (request.ByteSizeLong() <= TextPool::kInlineBytes) {
    call->Begin(request);
    return call.get();
  }
  const auto copy = std::make_shared<const v1::GenerateRequest>(request);
  if (!gateway.text_pool.Post([call, copy] { call->Begin(*copy); })) {
    call->Refuse(TooManyLargeRequests());
  }
  return call.get();
}

}  // namespace shardline
