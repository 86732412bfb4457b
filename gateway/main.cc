// shardline-gateway: reads the flags, loads the model's text side, listens, starts the worker, says
// `ready`, serves until a signal, drains.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "gateway/rpc/handlers.h"
#include "gateway/server.h"
#include "gateway/supervisor.h"
#include "gateway/text_pool.h"
#include "shared/base/clock.h"
#include "shared/base/quoted.h"
#include "shared/format/mapped_file.h"

namespace shardline {
namespace {

// What the main thread waits for: signals, and news from the supervisor.
class Life {
 public:
  // Before any other thread starts: they inherit the blocked signals.
  Life() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    signal(SIGPIPE, SIG_IGN);
    signals_ = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    news_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  }
  ~Life() {
    close(signals_);
    close(news_);
  }

  void Ready() {
    ready_ = true;
    Wake();
  }
  void DrainAsked() { Wake(); }
  void GaveUp(int exit_code, std::string why) {
    {
      std::lock_guard lock(mutex_);
      why_ = std::move(why);
    }
    exit_code_ = exit_code;
    Wake();
  }

  // Waits for news, a signal, or the time.
  void Wait(std::chrono::milliseconds timeout) {
    pollfd fds[] = {{signals_, POLLIN, 0}, {news_, POLLIN, 0}};
    poll(fds, 2, static_cast<int>(timeout.count()));
    signalfd_siginfo info;
    while (read(signals_, &info, sizeof(info)) == sizeof(info)) ++stops_;
    uint64_t count;
    while (read(news_, &count, sizeof(count)) == sizeof(count)) {
    }
  }

  int stops() const { return stops_; }  // SIGTERM and SIGINT so far
  bool ready() const { return ready_; }
  int exit_code() const { return exit_code_; }  // 0: the supervisor goes on
  std::string why() {
    std::lock_guard lock(mutex_);
    return why_;
  }

 private:
  void Wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(news_, &one, sizeof(one));
  }

  int signals_ = -1, news_ = -1;
  int stops_ = 0;  // the main thread's
  std::atomic<bool> ready_{false};
  std::atomic<int> exit_code_{0};
  std::mutex mutex_;
  std::string why_;
};

constexpr std::chrono::milliseconds kTick{200};

int Fail(int code, const std::string& line) {
  if (!line.empty()) std::fprintf(stderr, "shardline-gateway: %s\n", OneLine(line).c_str());
  return code;
}

// Lets live requests finish until the deadline or a second signal; what is left then ends with
// DRAINING.
void LetFinish(const Settings& settings, Drain& drain, Life& life, Router& router) {
  const std::chrono::duration<double> grace(settings.drain_seconds);
  router.StartDraining();
  for (bool signalled = false;;) {
    if (life.stops() > 0 && !signalled) {  // also when a Drain call was first
      drain.Begin(Clock::now() + std::chrono::duration_cast<Clock::duration>(grace));
      signalled = true;
    }
    const auto live = static_cast<uint32_t>(router.live_requests());
    if (live == 0 || life.stops() >= 2 || life.exit_code() != 0 ||
        Clock::now() >= drain.deadline()) {
      break;
    }
    drain.Tell({.remaining_requests = live});
    life.Wait(std::chrono::milliseconds(20));
    router.Tick(MonotonicNanoseconds());
  }
  router.EndAll(v1::ERROR_CODE_DRAINING, "the server is shutting down");
  drain.Tell({.done = true});
}

// Lets the last events reach readers that read.
void FlushStreams(const Gateway& gateway, Life& life) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(life.stops() > 1 ? 200 : 2000);
  while (gateway.open_streams > 0 && Clock::now() < deadline) {
    life.Wait(std::chrono::milliseconds(5));
  }
}

// Should gRPC or a thread hang at the end, the process still ends.
void EndWithin(std::chrono::seconds limit) {
  std::thread([limit] {
    std::this_thread::sleep_for(limit);
    std::fprintf(stderr, "shardline-gateway: stopping took too long\n");
    _exit(1);
  }).detach();
}

int Serve(const Settings& settings, Life& life) {
  const auto start = Clock::now();
  Metrics metrics;
  ExitWhenMappedFilesShrink("shardline-gateway");
  absl::StatusOr<ModelText> text = LoadModelText(settings.model);
  if (!text.ok()) return Fail(2, Message(text.status()));
  for (const std::string& warning : text->warnings) {
    std::fprintf(stderr, "warning: %s\n", OneLine(warning).c_str());
  }
  metrics.Startup("text", SecondsSince(start));

  std::unique_ptr<Trace> trace;
  if (!settings.trace_file.empty()) {
    auto begun = Trace::Begin(settings.trace_file, "shardline-gateway");
    if (!begun.ok()) return Fail(2, Cat("--trace-file ", Message(begun.status())));
    trace = *std::move(begun);
  }

  Router::Options options;
  options.queue = {settings.max_queued_requests, settings.max_queued_tokens};
  options.stalled_reader_ns = static_cast<uint64_t>(settings.stalled_reader_seconds * 1e9);
  options.eos_ids = text->eos_ids;
  options.trace = trace.get();
  Router router(options, text->tokenizer.get(), &metrics);
  TextPool text_pool;
  Drain drain([&life] { life.DrainAsked(); });
  const Gateway gateway{settings, *text,       router,        metrics, text_pool,
                        drain,    trace.get(), GrpcVersion(), {}};
  auto server = Server::Start(gateway);
  if (!server.ok()) return Fail(2, Message(server.status()));

  std::atomic<bool> draining{false};
  Supervisor supervisor(
      {.program = settings.worker_program,
       .ranks = static_cast<int>(settings.tensor_parallel),
       .arguments = [&](uint64_t epoch,
                        int rank) { return WorkerArguments(settings, epoch, rank); },
       .eos_ids = text->eos_ids,
       .step_limit_seconds = settings.step_limit_seconds,
       .load_limit_seconds = settings.load_limit_seconds,
       .trace = trace.get()},
      {.readiness =
           [&](bool ready) {
             (*server)->SetReady(ready && !draining);
             if (ready) life.Ready();
           },
       .liveness = [&](bool live) { (*server)->SetLive(live); },
       .gave_up = [&](int code, std::string why) { life.GaveUp(code, std::move(why)); }},
      &router, &metrics);
  supervisor.Start();

  bool announced = false;
  while (life.stops() == 0 && life.exit_code() == 0 && !drain.deadline().has_value()) {
    life.Wait(kTick);
    router.Tick(MonotonicNanoseconds());
    if (!life.ready() || announced) continue;
    announced = true;
    metrics.Startup("total", SecondsSince(start));
    std::printf("ready listen=%s metrics=%s model=%s\n", (*server)->listen().c_str(),
                (*server)->metrics().c_str(), settings.model_name.c_str());
    std::fflush(stdout);
  }

  draining = true;
  (*server)->SetReady(false);
  LetFinish(settings, drain, life, router);
  EndWithin(std::chrono::seconds(15));
  FlushStreams(gateway, life);
  (*server)->Shutdown(std::chrono::milliseconds(50));
  supervisor.Stop();
  if (trace != nullptr) trace->End();
  // The listeners take seconds to come down by themselves and hold nothing that outlives the
  // process.
  const int code = Fail(life.exit_code(), life.why());
  std::fflush(nullptr);
  _exit(code);
}

int Main(int argc, char** argv) {
  const absl::StatusOr<Settings> settings = SettingsFromCommandLine(argc, argv);
  if (!settings.ok()) return Fail(2, Message(settings.status()));
  setenv("GRPC_VERBOSITY", "NONE", 0);  // our own line says what is wrong
  Life life;
  return Serve(*settings, life);
}

}  // namespace
}  // namespace shardline

int main(int argc, char** argv) { return shardline::Main(argc, argv); }
