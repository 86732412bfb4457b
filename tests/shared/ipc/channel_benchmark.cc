// What a hop between two processes costs: round trips with both ends asleep between messages, round
// trips with both looking, and throughput. The peer is this program again with `--peer SPIN_NS`.
// The counters are one way, that is half a round trip, in microseconds.
#include <benchmark/benchmark.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "shared/base/process.h"
#include "shared/ipc/channel.h"

namespace shardline {
namespace {

using namespace std::chrono_literals;
constexpr uint64_t kEpoch = 1;

// Answers each Pause with a Resume and swallows everything else.
int Peer(std::chrono::nanoseconds spin) {
  auto channel = Channel::Attach(3, kEpoch, spin);
  if (!channel.ok()) return 1;
  for (;;) {
    const auto got = (*channel)->Receive(60s);
    if (!got.ok() || !got->has_value()) return 0;
    if ((*got)->kind == MessageKind::kPause) (void)(*channel)->Send(Resume{1}, 60s);
  }
}

struct Pair {
  std::unique_ptr<Channel> channel;
  Process peer;

  explicit Pair(std::chrono::nanoseconds spin) {
    auto made = Channel::Create({.spin = spin}, kEpoch);
    if (!made.ok()) return;
    auto started = Process::Spawn({.program = "/proc/self/exe",
                                   .arguments = {"--peer", std::to_string(spin.count())},
                                   .descriptors = {(*made)->fd()}});
    if (!started.ok() || !(*made)->WatchProcess(started->pid()).ok()) return;
    channel = *std::move(made);
    peer = *std::move(started);
  }
  bool RoundTrip() {
    if (!channel->Send(Pause{1}, 10s).ok()) return false;
    const auto got = channel->Receive(10s);
    return got.ok() && got->has_value();
  }
};

void ReportPercentiles(benchmark::State& state, std::vector<double>& microseconds) {
  std::sort(microseconds.begin(), microseconds.end());
  state.counters["p50_us"] = microseconds[microseconds.size() / 2];
  state.counters["p99_us"] = microseconds[microseconds.size() * 99 / 100];
}

// Argument: microseconds of rest between round trips, so that the cores too go to sleep.
void RoundTrips(benchmark::State& state, std::chrono::nanoseconds spin) {
  Pair pair(spin);
  if (!pair.channel || !pair.RoundTrip()) return state.SkipWithError("no peer");
  const auto rest = std::chrono::microseconds(state.range(0));
  std::vector<double> one_way;
  for (auto _ : state) {
    if (rest > 0us) std::this_thread::sleep_for(rest);
    const auto start = Clock::now();
    if (!pair.RoundTrip()) return state.SkipWithError("the round trip failed");
    one_way.push_back(SecondsSince(start) * 1e6 / 2);
  }
  ReportPercentiles(state, one_way);
}
void Asleep(benchmark::State& state) { RoundTrips(state, 0ns); }
void Awake(benchmark::State& state) { RoundTrips(state, 5ms); }
BENCHMARK(Asleep)->Arg(0)->Arg(200)->Iterations(10000)->UseRealTime();
BENCHMARK(Awake)->Arg(0)->Iterations(100000)->UseRealTime();

// Records one way, one answer at the end of each burst.
void Throughput(benchmark::State& state) {
  constexpr int kBurst = 64;
  Pair pair(ChannelOptions().spin);
  if (!pair.channel || !pair.RoundTrip()) return state.SkipWithError("no peer");
  const std::vector<std::byte> payload(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    for (int i = 0; i < kBurst; ++i) {
      if (!pair.channel->SendBytes(MessageKind::kSubmit, payload, 10s).ok()) {
        return state.SkipWithError("sending failed");
      }
    }
    if (!pair.RoundTrip()) return state.SkipWithError("the round trip failed");
  }
  state.SetItemsProcessed(state.iterations() * kBurst);
  state.SetBytesProcessed(state.iterations() * kBurst * state.range(0));
}
BENCHMARK(Throughput)->Arg(128)->Arg(4096)->Arg(65536)->Arg(1 << 20)->UseRealTime();

// From the signal to the moment a waiting receiver is told.
void DeathNoticed(benchmark::State& state) {
  std::vector<double> noticed;
  for (auto _ : state) {
    Pair pair(ChannelOptions().spin);
    if (!pair.channel || !pair.RoundTrip()) return state.SkipWithError("no peer");
    const auto start = Clock::now();
    pair.peer.Signal(SIGKILL);
    benchmark::DoNotOptimize(pair.channel->Receive(10s));
    state.SetIterationTime(SecondsSince(start));
    noticed.push_back(SecondsSince(start) * 1e6);
  }
  ReportPercentiles(state, noticed);
}
BENCHMARK(DeathNoticed)->Iterations(50)->Unit(benchmark::kMicrosecond)->UseManualTime();

}  // namespace
}  // namespace shardline

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--peer") {
    return shardline::Peer(std::chrono::nanoseconds(std::atoll(argv[2])));
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
