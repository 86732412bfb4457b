// Prints this machine's read bandwidth at this moment in GB/s: the fastest of several reads of more
// memory than caches hold, since other work only makes a read slower. tools/bench.py runs it
// between measurements.
//   read_bandwidth [THREADS]
#include "tests/kernels/read_bandwidth.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  constexpr size_t kBytes = size_t{256} << 20;
  constexpr int kReads = 15;
  int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (argc == 2) {
    const char* end = argv[1] + std::strlen(argv[1]);
    if (std::from_chars(argv[1], end, threads).ptr != end) threads = 0;
  }
  if (argc > 2 || threads < 1 || threads > 4096) {
    std::fprintf(stderr, "usage: read_bandwidth [THREADS]\n");
    return 2;
  }
  shardline::ThreadPool pool(threads);
  const shardline::Memory memory(kBytes);
  if (memory.data() == MAP_FAILED) {
    std::fprintf(stderr, "read_bandwidth: no memory\n");
    return 1;
  }
  std::memset(memory.data(), 1, kBytes);
  std::vector<double> seconds;
  for (int i = 0; i < kReads; ++i) {
    const auto start = Clock::now();
    shardline::Read(pool, memory.data(), kBytes);
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  const double fastest = *std::min_element(seconds.begin(), seconds.end());
  std::printf("%.2f\n", static_cast<double>(kBytes) / fastest / 1e9);
  return 0;
}
