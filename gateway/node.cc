#include "gateway/node.h"

#include <climits>
#include <cstdio>
#include <random>

#include "gateway/metrics.h"
#include "gateway/router.h"

namespace shardline {
namespace {

// Never one that an earlier gateway of node 0 gave out, whose ranks may still run elsewhere.
uint64_t RandomEpoch() { return (uint64_t{std::random_device{}()} << 20) + 1; }

std::string Ranks(const RankRun& run) {
  return run.count == 1 ? Cat("rank ", run.first)
                        : Cat("ranks ", run.first, "-", run.first + run.count - 1);
}

}  // namespace

Supervisor::Options WorkerOptions(const Settings& settings, int rendezvous_fd) {
  const RankRun ranks = settings.local_ranks();
  Supervisor::Options options;
  options.replicas = static_cast<int>(settings.replicas);
  options.program = settings.worker_program;
  options.first_rank = ranks.first;
  options.ranks = ranks.count;
  options.arguments = [&settings](uint64_t epoch, int rank) {
    return WorkerArguments(settings, epoch, rank);
  };
  options.step_limit_seconds = settings.step_limit_seconds;
  options.load_limit_seconds = settings.load_limit_seconds;
  options.over_tcp = !settings.rendezvous.empty();
  options.rendezvous_fd = rendezvous_fd;
  if (options.over_tcp) options.first_epoch = RandomEpoch();
  // A start may fail because of another node, which may come back at any time.
  if (settings.nodes > 1) options.max_failed_starts = INT_MAX;
  return options;
}

int HelpNodeZero(const Settings& settings, Life& life) {
  // Nothing is ever asked of the router: this node's ranks take their work from rank 0.
  Metrics metrics;
  Router router({}, nullptr, &metrics);
  std::unique_ptr<Trace> trace;
  if (!settings.trace_file.empty()) {
    auto begun = Trace::Begin(settings.trace_file, "shardline-gateway");
    if (!begun.ok()) return Fail(2, Cat("--trace-file ", Message(begun.status())));
    trace = *std::move(begun);
  }
  Supervisor::Options options = WorkerOptions(settings, -1);
  options.trace = trace.get();
  const auto tell = [&settings](bool ready) {
    if (!ready) return;
    std::fprintf(stderr, "node %u of %u: %s with node 0\n", settings.node_rank, settings.nodes,
                 Ranks(settings.local_ranks()).c_str());
  };
  Supervisor supervisor(options,
                        {.readiness = tell,
                         .liveness = [](bool) {},
                         .gave_up =
                             [&life](int code, std::string why) {
                               life.GaveUp(code, std::move(why));
                               return true;
                             }},
                        &router, &metrics);
  supervisor.Start();
  while (life.stops() == 0 && life.exit_code() == 0) life.Wait(std::chrono::milliseconds(200));
  supervisor.Stop();
  if (trace != nullptr) trace->End();
  return Fail(life.exit_code(), life.why());
}

}  // namespace shardline
