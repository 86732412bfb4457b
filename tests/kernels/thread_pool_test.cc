// The threads: every part runs once, results are visible, and starting, sleeping and stopping work.
#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "kernels/cpu/parallel.h"

namespace shardline {
namespace {

TEST(ThreadPool, RunsEachPartOnce) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.size(), threads);
    std::vector<int> runs(static_cast<size_t>(threads));  // plain: visibility is the pool's promise
    for (int round = 0; round < 2000; ++round) {
      pool.Run([&](int part, int parts) {
        EXPECT_EQ(parts, threads);
        ++runs[static_cast<size_t>(part)];
      });
      for (int count : runs) ASSERT_EQ(count, round + 1);
    }
  }
}

TEST(ThreadPool, WakesSleepingThreads) {
  ThreadPool pool(3);
  std::vector<int> runs(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // longer than any spin
    pool.Run([&](int part, int) {
      if (part == round % 3) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ++runs[static_cast<size_t>(part)];
    });
    for (int count : runs) ASSERT_EQ(count, round + 1);
  }
}

TEST(ThreadPool, TakesAtLeastTheCaller) {
  ThreadPool pool(0);
  EXPECT_EQ(pool.size(), 1);
  int runs = 0;
  pool.Run([&](int part, int parts) { runs += part + parts; });
  EXPECT_EQ(runs, 1);
}

TEST(ThreadPool, StopsUnused) {
  for (int i = 0; i < 100; ++i) ThreadPool pool(4);
}

TEST(ParallelFor, CoversEveryIndexOnce) {
  ThreadPool pool(3);
  const OpContext context{.threads = &pool};
  for (int64_t count : {0, 1, 2, 3, 1000}) {
    std::vector<int> seen(static_cast<size_t>(count));
    std::vector<int> per_part(3);
    ParallelFor(context, count, [&](int64_t i, int part) {
      ++seen[static_cast<size_t>(i)];
      ++per_part[static_cast<size_t>(part)];
    });
    for (int times : seen) EXPECT_EQ(times, 1);
    EXPECT_EQ(per_part[0] + per_part[1] + per_part[2], count);
  }
}

}  // namespace
}  // namespace shardline
