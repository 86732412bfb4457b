// shardline-gateway: reads the flags, loads the model's text side, listens, starts the workers,
// says `ready`, serves until a signal, drains. On a node other than the first it only starts
// workers (gateway/node.h).
#include <absl/flags/usage.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "gateway/group_health.h"
#include "gateway/life.h"
#include "gateway/node.h"
#include "gateway/rpc/handlers.h"
#include "gateway/server.h"
#include "gateway/supervisor.h"
#include "gateway/text_pool.h"
#include "shared/base/clock.h"
#include "shared/base/quoted.h"
#include "shared/base/tcp_address.h"
#include "shared/format/mapped_file.h"

namespace shardline {
namespace {

constexpr std::chrono::milliseconds kTick{200};

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

// One for each replica, not yet started.
std::vector<std::unique_ptr<Supervisor>> MakeSupervisors(const Settings& settings,
                                                         const ModelText& text, int rendezvous_fd,
                                                         Trace* trace, GroupHealth& health,
                                                         Router& router, Metrics& metrics) {
  std::vector<std::unique_ptr<Supervisor>> supervisors;
  for (size_t group = 0; group < settings.replicas; ++group) {
    Supervisor::Options options = WorkerOptions(settings, rendezvous_fd);
    options.group = static_cast<int>(group);
    options.eos_ids = text.eos_ids;
    options.trace = trace;
    supervisors.push_back(std::make_unique<Supervisor>(
        std::move(options),
        Supervisor::Events{
            .readiness = [&health, group](bool ready) { health.Ready(group, ready); },
            .liveness = [&health, group](bool live) { health.Live(group, live); },
            .gave_up = [&health, group](
                           int code,
                           const std::string& why) { return health.GaveUp(group, code, why); }},
        &router, &metrics));
  }
  return supervisors;
}

// Where the ranks of several nodes meet, or -1. Opened once, so that a bad address is told at the
// start and no rank 0 finds it taken.
absl::StatusOr<int> OpenRendezvous(const Settings& settings) {
  if (settings.rendezvous.empty()) return -1;
  SL_ASSIGN_OR_RETURN(const TcpAddress at, ParseTcpAddress(settings.rendezvous, "--rendezvous"));
  return ListenAt(at.host, at.port, "--rendezvous");
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
  const absl::StatusOr<int> rendezvous_fd = OpenRendezvous(settings);
  if (!rendezvous_fd.ok()) return Fail(2, Message(rendezvous_fd.status()));

  std::unique_ptr<Trace> trace;
  if (!settings.trace_file.empty()) {
    auto begun = Trace::Begin(settings.trace_file, "shardline-gateway");
    if (!begun.ok()) return Fail(2, Cat("--trace-file ", Message(begun.status())));
    trace = *std::move(begun);
  }

  Router::Options options;
  options.groups = settings.replicas;
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

  GroupHealth health(
      settings.replicas,
      {.ready =
           [&](bool ready) {
             (*server)->SetReady(ready);
             if (ready) life.Ready();
           },
       .live = [&](bool live) { (*server)->SetLive(live); },
       .gave_up = [&](int code, std::string why) { life.GaveUp(code, std::move(why)); }});
  auto supervisors =
      MakeSupervisors(settings, *text, *rendezvous_fd, trace.get(), health, router, metrics);
  const auto start_replica = [&](size_t replica) {
    health.Started(replica);
    supervisors[replica]->Start();
  };
  // The first one alone: what is wrong with the model is found and said once. The others, started
  // once it serves, read the weights from the page cache.
  start_replica(0);

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
    for (size_t replica = 1; replica < supervisors.size(); ++replica) start_replica(replica);
  }

  health.StartDraining();
  LetFinish(settings, drain, life, router);
  EndWithin(std::chrono::seconds(15));
  FlushStreams(gateway, life);
  (*server)->Shutdown(std::chrono::milliseconds(50));
  for (const auto& supervisor : supervisors) supervisor->AskToStop();
  for (const auto& supervisor : supervisors) supervisor->Stop();
  if (trace != nullptr) trace->End();
  // The listeners take seconds to come down by themselves and hold nothing that outlives the
  // process.
  const int code = Fail(life.exit_code(), life.why());
  std::fflush(nullptr);
  _exit(code);
}

int Main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Serves a large language model over gRPC.\n\n  shardline-gateway --model PATH [flags]");
  const absl::StatusOr<Settings> settings = SettingsFromCommandLine(argc, argv);
  if (!settings.ok()) return Fail(2, Message(settings.status()));
  setenv("GRPC_VERBOSITY", "NONE", 0);  // our own line says what is wrong
  Life life;
  return settings->node_rank == 0 ? Serve(*settings, life) : HelpNodeZero(*settings, life);
}

}  // namespace
}  // namespace shardline

int main(int argc, char** argv) { return shardline::Main(argc, argv); }
