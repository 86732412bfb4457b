// What an all-reduce of bf16 costs between processes of one machine: shared memory and gloo over
// loopback, by bytes and ranks, in microseconds seen by rank 0. The other ranks are this program
// again with `--rank`. More ranks than cores measure the scheduler too.
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "shared/base/process.h"
#include "shared/base/tcp_address.h"
#include "worker/parallel/gloo_group.h"
#include "worker/parallel/shm_group.h"

namespace shardline {
namespace {

using Group = absl::StatusOr<std::unique_ptr<ProcessGroup>>;
constexpr uint64_t kEpoch = 1;
constexpr int kJoinDescriptor = 3;
const std::string kHost = "127.0.0.1";

int PortOf(int fd) {
  sockaddr_in own{};
  socklen_t size = sizeof(own);
  getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size);
  return ntohs(own.sin_port);
}

// `fd`: the segment, or the socket that listens. Taken over.
Group Join(const std::string& kind, int fd, int rank, int ranks) {
  if (kind == "shm") return ShmGroup::Attach(fd, {.rank = rank, .size = ranks, .epoch = kEpoch});
  const int port = PortOf(fd);
  if (rank != 0) close(fd);
  return GlooGroup::Connect({.host = kHost,
                             .port = port,
                             .listen_fd = rank == 0 ? fd : -1,
                             .rank = rank,
                             .size = ranks,
                             .epoch = kEpoch});
}

// `turns` all-reduces after some for practice; microseconds each.
absl::StatusOr<std::vector<double>> Measure(ProcessGroup& group, int64_t bytes, int turns) {
  std::vector<uint16_t> values(static_cast<size_t>(bytes) / 2);
  const View data = View::Contiguous(values.data(), DType::kBF16, {bytes / 2});
  std::vector<double> times;
  for (int i = -turns / 10 - 2; i < turns; ++i) {
    const auto start = Clock::now();
    SL_RETURN_IF_ERROR(group.AllReduce(data));
    if (i >= 0) times.push_back(SecondsSince(start) * 1e6);
  }
  return times;
}

int TurnsFor(int64_t bytes) {
  return static_cast<int>(std::clamp<int64_t>((64 << 20) / bytes, 50, 2000));
}

absl::StatusOr<std::vector<double>> MeasureAmongProcesses(const std::string& kind, int ranks,
                                                          int64_t bytes) {
  SL_ASSIGN_OR_RETURN(const int fd, kind == "shm" ? ShmGroup::CreateSegment(ranks, kEpoch)
                                                  : ListenAt(kHost, 0, "benchmark"));
  std::vector<Process> others;
  for (int rank = 1; rank < ranks; ++rank) {
    SL_ASSIGN_OR_RETURN(
        Process other,
        Process::Spawn({.program = "/proc/self/exe",
                        .arguments = {"--rank", kind, Cat(rank), Cat(ranks), Cat(bytes)},
                        .descriptors = {fd}}));
    others.push_back(std::move(other));
  }
  SL_ASSIGN_OR_RETURN(const auto group, Join(kind, fd, 0, ranks));
  return Measure(*group, bytes, TurnsFor(bytes));
}

void AllReduce(benchmark::State& state, const std::string& kind) {
  const auto ranks = static_cast<int>(state.range(0));
  for (auto _ : state) {
    auto times = MeasureAmongProcesses(kind, ranks, state.range(1));
    if (!times.ok()) return state.SkipWithError(times.status().ToString().c_str());
    std::sort(times->begin(), times->end());
    state.counters["p50_us"] = (*times)[times->size() / 2];
    state.counters["p90_us"] = (*times)[times->size() * 9 / 10];
    state.SetIterationTime((*times)[times->size() / 2] / 1e6);
  }
}
void Sizes(benchmark::internal::Benchmark* of) {
  of->ArgNames({"ranks", "bytes"})
      ->ArgsProduct({{2, 3}, benchmark::CreateRange(2 << 10, 8 << 20, 4)})
      ->Iterations(1)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}
BENCHMARK_CAPTURE(AllReduce, shm, "shm")->Apply(Sizes);
BENCHMARK_CAPTURE(AllReduce, gloo, "gloo")->Apply(Sizes);

int OtherRank(char** argv) {
  const int64_t bytes = std::atoll(argv[5]);
  const auto group = Join(argv[2], kJoinDescriptor, std::atoi(argv[3]), std::atoi(argv[4]));
  return group.ok() && Measure(**group, bytes, TurnsFor(bytes)).ok() ? 0 : 1;
}

}  // namespace
}  // namespace shardline

int main(int argc, char** argv) {
  if (argc == 6 && std::string(argv[1]) == "--rank") return shardline::OtherRank(argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
