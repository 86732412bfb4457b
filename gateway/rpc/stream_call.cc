#include "gateway/rpc/stream_call.h"

#include <chrono>
#include <memory>
#include <mutex>

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

class StreamCall : public grpc::ServerWriteReactor<v1::GenerateEvent>,
                   public std::enable_shared_from_this<StreamCall> {
 public:
  StreamCall(const Gateway& gateway, grpc::CallbackServerContext* context)
      : gateway_(gateway), context_(context), deadline_(context->deadline()) {
    ++gateway_.open_streams;
    const auto& metadata = context->client_metadata();
    if (const auto found = metadata.find("traceparent"); found != metadata.end()) {
      traceparent_.assign(found->second.data(), found->second.size());
    }
  }
  ~StreamCall() override { --gateway_.open_streams; }

  // Lives until OnDone, whoever lets go of it.
  void HoldSelf() { self_ = shared_from_this(); }

  // Checks and admits the request, then writes its events.
  void Generate(const v1::GenerateRequest& request) {
    if (gone()) return Refuse(absl::CancelledError("the call was cancelled"));
    auto live = StartGenerate(gateway_, request, {DeadlineNs(deadline_), traceparent_});
    if (!live.ok()) return Finish(ToGrpc(live.status()));
    auto joined = (*live)->stream->Join(1, Listener());
    if (!joined.ok()) return Finish(ToGrpc(joined.status()));
    Begin({(*live)->stream, *live, joined->reader});
  }

  // Joins a request's stream, then writes its events.
  void Attach(const v1::AttachRequest& request) {
    auto attached = StartAttach(gateway_, request, Listener());
    if (!attached.ok()) return Finish(ToGrpc(attached.status()));
    Begin(*std::move(attached));
  }

  // Ends a call whose request was never looked at.
  void Refuse(const absl::Status& status) {
    gateway_.metrics.Rejected();
    Finish(ToGrpc(status));
  }

 private:
  std::function<void()> Listener() {
    return [weak = weak_from_this()] {
      if (const auto call = weak.lock()) call->Advance();
    };
  }

  bool gone() {
    std::lock_guard lock(mutex_);
    return gone_;
  }

  // Either this sees that the client has gone, or Gone sees the stream.
  void Begin(Router::Attached attached) {
    bool gone;
    {
      std::lock_guard lock(mutex_);
      attached_ = std::move(attached);
      gone = gone_;
    }
    if (gone) Leave();
    Advance();
  }

  // Writes the next event unless one is on its way; after the last, finishes the call.
  void Advance() {
    grpc::Status end;
    {
      std::unique_lock lock(mutex_);
      if (attached_.stream == nullptr || finished_ || cutting_) return;
      if (writing_) return CutIfEjected(lock);
      if (gone_) {
        finished_ = true;
        end = grpc::Status(grpc::StatusCode::CANCELLED, "the call was cancelled");
      } else {
        switch (attached_.stream->Take(attached_.reader, &event_)) {
          case EventStream::Next::kEmpty:
            return;
          case EventStream::Next::kEvent:
            writing_ = true;
            break;
          case EventStream::Next::kEnd:
            finished_ = true;  // OK for a stream that was sent to its end, with `error` too
            end = ToGrpc(attached_.stream->end());
            break;
          case EventStream::Next::kReplaced:
            finished_ = true;
            end = grpc::Status(grpc::StatusCode::ABORTED, "another Attach reads this stream now");
            break;
        }
      }
    }
    // Nobody else gets past the flags above until this write, or the call, is done.
    if (finished_) return Finish(end);
    if (attached_.request != nullptr) gateway_.router.Taken(attached_.request);
    StartWrite(&event_);  // the last thing: the call may be done and gone before it returns
  }

  // A write that waits for a client that takes nothing ends with its call alone. While it is being
  // cut, nobody finishes the call, so that its context is still there. Once is enough: OnCancel may
  // be long in coming.
  void CutIfEjected(std::unique_lock<std::mutex>& lock) {
    if (gone_ || cut_ || !attached_.stream->Ejected(attached_.reader)) return;
    cut_ = cutting_ = true;
    lock.unlock();
    context_->TryCancel();
    lock.lock();
    cutting_ = false;
    lock.unlock();
    Advance();
  }

  void OnWriteDone(bool ok) override {
    {
      std::lock_guard lock(mutex_);
      writing_ = false;
    }
    if (!ok) return Gone();
    Advance();
  }

  void OnCancel() override { Gone(); }

  // The client takes nothing any more.
  void Gone() {
    bool leave = false;
    {
      std::lock_guard lock(mutex_);
      leave = !gone_ && attached_.stream != nullptr;
      gone_ = true;
    }
    if (leave) Leave();
    Advance();
  }

  void Leave() {
    if (attached_.request == nullptr) {
      attached_.stream->Leave(attached_.reader);
    } else {
      const bool late = SystemClock::now() >= deadline_;
      gateway_.router.Leave(attached_.request, attached_.reader,
                            late ? Outcome::kDeadline : Outcome::kCancelled);
    }
  }

  void OnDone() override {
    if (attached_.stream != nullptr) attached_.stream->Leave(attached_.reader);
    self_.reset();
  }

  const Gateway& gateway_;
  grpc::CallbackServerContext* const context_;  // until OnDone
  const SystemClock::time_point deadline_;
  std::string traceparent_;
  std::shared_ptr<StreamCall> self_;
  std::mutex mutex_;
  Router::Attached attached_;  // written once, under the lock
  bool writing_ = false, finished_ = false, gone_ = false, cutting_ = false, cut_ = false;
  v1::GenerateEvent event_;
};

}  // namespace

grpc::ServerWriteReactor<v1::GenerateEvent>* StartGenerateCall(const Gateway& gateway,
                                                               grpc::CallbackServerContext* context,
                                                               const v1::GenerateRequest& request) {
  const auto call = std::make_shared<StreamCall>(gateway, context);
  call->HoldSelf();
  if (request.ByteSizeLong() <= TextPool::kInlineBytes) {
    call->Generate(request);
    return call.get();
  }
  const auto copy = std::make_shared<const v1::GenerateRequest>(request);
  if (!gateway.text_pool.Post([call, copy] { call->Generate(*copy); })) {
    call->Refuse(TooManyLargeRequests());
  }
  return call.get();
}

grpc::ServerWriteReactor<v1::GenerateEvent>* StartAttachCall(const Gateway& gateway,
                                                             grpc::CallbackServerContext* context,
                                                             const v1::AttachRequest& request) {
  const auto call = std::make_shared<StreamCall>(gateway, context);
  call->HoldSelf();
  call->Attach(request);
  return call.get();
}

}  // namespace shardline
