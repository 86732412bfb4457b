#include "gateway/supervisor.h"

#include <signal.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "shared/base/clock.h"

namespace shardline {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

// How often the thread looks up from an idle channel.
constexpr milliseconds kGlance{100};

std::chrono::nanoseconds Nanoseconds(double seconds) {
  return std::chrono::nanoseconds(static_cast<int64_t>(seconds * 1e9));
}

}  // namespace

Supervisor::Supervisor(Options options, Events events, Router* router, Metrics* metrics)
    : options_(std::move(options)),
      events_(std::move(events)),
      router_(router),
      metrics_(metrics),
      which_(options_.replicas > 1 ? Cat(" of replica ", options_.group) : ""),
      group_(static_cast<size_t>(options_.group)) {}

void Supervisor::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Supervisor::AskToStop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
}

void Supervisor::Stop() {
  AskToStop();
  if (thread_.joinable()) thread_.join();
}

bool Supervisor::Sleep(double seconds) {
  std::unique_lock lock(mutex_);
  wake_.wait_for(lock, Nanoseconds(seconds), [this] { return stopping_.load(); });
  return !stopping_;
}

void Supervisor::Run() {
  int failed_starts = 0;
  bool served_before = false;
  const auto step = static_cast<uint64_t>(options_.replicas);
  const uint64_t first = options_.first_epoch + static_cast<uint64_t>(options_.group);
  for (uint64_t epoch = first; !stopping_; epoch += step) {
    const End end = RunWorker(epoch);
    if (stopping_) return;
    failed_starts = end.served ? 0 : failed_starts + 1;
    served_before = served_before || end.served;
    // What a worker finds wrong with its flags or model will be wrong again.
    if (!served_before && end.exit.has_value() && !end.exit->signalled && end.exit->code == 2 &&
        events_.gave_up(2, "")) {
      return;
    }
    if (failed_starts >= options_.max_failed_starts &&
        events_.gave_up(
            1, Cat("the worker failed to start ", failed_starts, " times in a row: ", end.why))) {
      return;
    }
    std::fprintf(stderr, "worker%s: %s; starting it again\n", which_.c_str(), end.why.c_str());
    metrics_->WorkerRestarted();
    const double backoff = options_.first_backoff_seconds * std::pow(2.0, failed_starts - 1);
    if (failed_starts > 0 && !Sleep(std::min(backoff, options_.max_backoff_seconds))) return;
  }
}

void Supervisor::Note(std::string_view what, uint64_t epoch) {
  if (options_.trace == nullptr) return;
  options_.trace->Instant(what, MonotonicNanoseconds(), TraceArguments().Add("epoch", epoch));
}

Supervisor::End Supervisor::RunWorker(uint64_t epoch) {
  End end;
  {
    std::lock_guard lock(progress_mutex_);
    progress_.assign(options_.ranks, Progress{0, ""});
    shown_ = {-1, ""};
    started_ = Clock::now();
  }
  last_message_ns_ = MonotonicNanoseconds();
  auto started = RankProcesses::Start({
      .program = options_.program,
      .first_rank = options_.first_rank,
      .ranks = options_.ranks,
      .over_tcp = options_.over_tcp,
      .rendezvous_fd = options_.rendezvous_fd,
      .epoch = epoch,
      .arguments = options_.arguments,
      .eos_ids = options_.eos_ids,
      .progress = [this](int index, const Progress& progress) { ShowProgress(index, progress); },
  });
  if (!started.ok()) {
    end.why = Message(started.status());
    return end;
  }
  RankProcesses& ranks = **started;
  const absl::Status status = Serve(ranks, end.served);
  Note("worker ended", epoch);
  // Streams first: taking down a large process takes a while.
  if (end.served) events_.readiness(false);
  router_->WorkerLost(group_);
  // A worker that ends by itself says why with its exit code: let it, before it is killed.
  // One that never served may be slow to end on a busy machine, and its code decides what follows.
  const milliseconds patience = end.served ? milliseconds(2000) : milliseconds(10000);
  end.exit = ranks.End(stopping_ ? milliseconds(500) : patience);
  end.why = ranks.lost_rank();
  if (!end.why.empty()) return end;
  end.why = Message(status);
  // What stood still was ended from here.
  if (end.exit && !absl::IsDeadlineExceeded(status)) {
    end.why = Cat(end.why, " (", Describe(*end.exit), ")");
  }
  return end;
}

// Until the group ends or must be ended; the status says why.
absl::Status Supervisor::Serve(RankProcesses& ranks, bool& served) {
  WorkerLink& link = *ranks.leader();
  std::optional<Clock::time_point> stop_by;
  for (;;) {
    // One that still loads does not read what it is sent, and has nothing to bring to an end.
    if (stopping_ && !served) return Unavailable("it was stopped while it loaded");
    if (stopping_ && !stop_by.has_value()) {
      stop_by = DeadlineAfter(seconds(1));
      SL_RETURN_IF_ERROR(link.channel().Send(Shutdown{}, milliseconds(100)));
    }
    if (stop_by.has_value() && Clock::now() >= *stop_by) return Unavailable("it did not stop");
    SL_ASSIGN_OR_RETURN(const std::optional<Received> message, link.Receive(kGlance));
    if (message.has_value()) {
      last_message_ns_ = MonotonicNanoseconds();
      SL_RETURN_IF_ERROR(Dispatch(*message, ranks.leader(), served));
    } else if (ranks.leader_ended()) {
      return Unavailable("it ended");  // the channel says so sooner, once it is attached
    } else if (const absl::Status status = CheckProgress(served); !status.ok()) {
      events_.liveness(false);
      ranks.Kill();  // what stands still does not end by itself
      return status;
    }
  }
}

absl::Status Supervisor::CheckProgress(bool served) const {
  const double silence =
      static_cast<double>(MonotonicNanoseconds() - last_message_ns_.load()) * 1e-9;
  if (!served) {
    if (silence < options_.load_limit_seconds) return absl::OkStatus();
    return DeadlineExceeded("it got no further with loading for ", static_cast<int64_t>(silence),
                            " s (--load-limit-seconds)");
  }
  if (options_.first_rank > 0) {
    // Rank 0, elsewhere, says something within the limit, and this node's first rank passes it on;
    // or that one ends by itself because rank 0 did not.
    if (silence < 2 * options_.step_limit_seconds) return absl::OkStatus();
    return Unavailable("it has said nothing for ", static_cast<int64_t>(silence),
                       " s (--step-limit-seconds)");
  }
  const uint64_t since = router_->waiting_for_step_since_ns(group_);
  if (since == 0) return absl::OkStatus();
  const double age = static_cast<double>(MonotonicNanoseconds() - since) * 1e-9;
  if (age < options_.step_limit_seconds) return absl::OkStatus();
  return DeadlineExceeded("it got no further with its step for ", static_cast<int64_t>(age),
                          " s (--step-limit-seconds)");
}

absl::Status Supervisor::Dispatch(const Received& message, const std::shared_ptr<WorkerLink>& port,
                                  bool& served) {
  const auto to_router = [this]<typename T>(absl::StatusOr<T> decoded) {
    if (decoded.ok()) router_->OnMessage(group_, *decoded);
    return decoded.status();
  };
  switch (message.kind) {
    case MessageKind::kTokens:
      return to_router(message.As<Tokens>());
    case MessageKind::kPrompt:
      return to_router(message.As<Prompt>());
    case MessageKind::kFinished:
      return to_router(message.As<Finished>());
    case MessageKind::kFailed:
      return to_router(message.As<Failed>());
    case MessageKind::kStepReport:
      return to_router(message.As<StepReport>());
    case MessageKind::kProgress: {
      SL_ASSIGN_OR_RETURN(const Progress progress, message.As<Progress>());
      if (served) {
        router_->OnMessage(group_, progress);
      } else {
        ShowProgress(0, progress);
      }
      return absl::OkStatus();
    }
    case MessageKind::kReady: {
      SL_ASSIGN_OR_RETURN(const Ready ready, message.As<Ready>());
      metrics_->Startup("worker_load", ready.header.load_seconds);
      router_->WorkerReady(group_, port, ready);
      served = true;
      events_.liveness(true);
      events_.readiness(true);
      Note("worker ready", ready.header.epoch);
      return absl::OkStatus();
    }
    default:
      return Internal("it sent a message that only the gateway sends");
  }
}

// A line when the phase changes and for every further fifth of it; of several ranks the one that is
// furthest behind counts. A rank that waits for another node shows nothing, but that it is well.
void Supervisor::ShowProgress(int index, const Progress& progress) {
  last_message_ns_ = MonotonicNanoseconds();
  if (progress.phase.empty()) return;
  std::lock_guard lock(progress_mutex_);
  if (options_.ranks > 1 && progress.fraction >= 1 && progress_[index].fraction < 1) {
    metrics_->Startup(Cat("load_rank_", options_.first_rank + index), SecondsSince(started_));
  }
  progress_[index] = progress;
  double least = progress.fraction;
  int done = 0;
  for (const Progress& other : progress_) {
    const double fraction = other.phase == progress.phase ? other.fraction : 0;
    least = std::min(least, fraction);
    done += fraction >= 1 ? 1 : 0;
  }
  if (progress.phase == shown_.phase && least < shown_.fraction + 0.2) return;
  shown_ = {least, progress.phase};
  const std::string ranks =
      options_.ranks > 1 ? Cat(" (", done, " of ", options_.ranks, " ranks done)") : "";
  std::fprintf(stderr, "loading%s: %s %d %%%s\n", which_.c_str(), progress.phase.c_str(),
               static_cast<int>(std::clamp(least, 0.0, 1.0) * 100), ranks.c_str());
}

}  // namespace shardline
