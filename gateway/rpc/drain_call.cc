#include "gateway/rpc/drain_call.h"

#include <memory>
#include <mutex>

#include "gateway/field_error.h"
#include "gateway/rpc/status.h"
#include "gateway/validation.h"
#include "shared/base/clock.h"

namespace shardline {
namespace {

constexpr double kMaxSeconds = 1e6;

absl::StatusOr<Clock::time_point> DeadlineOf(const Settings& settings,
                                             const v1::DrainRequest& request) {
  SL_RETURN_IF_ERROR(CheckFields(request));
  const double seconds =
      request.has_deadline_seconds() ? request.deadline_seconds() : settings.drain_seconds;
  if (!(seconds >= 0 && seconds <= kMaxSeconds)) {
    return FieldError("deadline_seconds", seconds, " is out of range: it must be 0 to ",
                      static_cast<int64_t>(kMaxSeconds));
  }
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

class DrainCall : public grpc::ServerWriteReactor<v1::DrainProgress>,
                  public std::enable_shared_from_this<DrainCall> {
 public:
  explicit DrainCall(const Gateway& gateway) : gateway_(gateway) { ++gateway_.open_streams; }
  ~DrainCall() override { --gateway_.open_streams; }

  void Begin(Clock::time_point deadline) {
    self_ = shared_from_this();
    listener_ = std::make_shared<Drain::Listener>(
        [weak = weak_from_this()](const Drain::Progress& progress) {
          if (const auto call = weak.lock()) call->Take(progress);
        });
    gateway_.drain.Begin(deadline, listener_);
  }

 private:
  void Take(const Drain::Progress& progress) {
    {
      std::lock_guard lock(mutex_);
      newest_ = progress;
    }
    Advance();
  }

  // Writes the newest progress unless a write is on its way; `done` is the last.
  void Advance() {
    bool end = false;
    {
      std::lock_guard lock(mutex_);
      if (writing_ || finished_) return;
      if (gone_ || written_done_) {
        end = finished_ = true;
      } else if (newest_.has_value()) {
        message_.set_remaining_requests(newest_->remaining_requests);
        message_.set_done(newest_->done);
        written_done_ = newest_->done;
        newest_.reset();
        writing_ = true;
      } else {
        return;
      }
    }
    if (end) return Finish(grpc::Status::OK);
    StartWrite(&message_);
  }

  void OnWriteDone(bool ok) override {
    {
      std::lock_guard lock(mutex_);
      writing_ = false;
      gone_ = gone_ || !ok;
    }
    Advance();
  }
  // The server drains on.
  void OnCancel() override {
    {
      std::lock_guard lock(mutex_);
      gone_ = true;
    }
    Advance();
  }
  void OnDone() override { self_.reset(); }

  const Gateway& gateway_;
  std::shared_ptr<DrainCall> self_;  // lives until OnDone
  std::shared_ptr<Drain::Listener> listener_;
  std::mutex mutex_;
  std::optional<Drain::Progress> newest_;
  bool writing_ = false, written_done_ = false, finished_ = false, gone_ = false;
  v1::DrainProgress message_;
};

// A call that is refused.
class Refused : public grpc::ServerWriteReactor<v1::DrainProgress> {
 public:
  explicit Refused(const absl::Status& why) { Finish(ToGrpc(why)); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerWriteReactor<v1::DrainProgress>* StartDrainCall(const Gateway& gateway,
                                                            const v1::DrainRequest& request) {
  const auto deadline = DeadlineOf(gateway.settings, request);
  if (!deadline.ok()) return new Refused(deadline.status());
  const auto call = std::make_shared<DrainCall>(gateway);
  call->Begin(*deadline);
  return call.get();
}

}  // namespace shardline
