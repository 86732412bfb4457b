#include "gateway/metrics.h"

#include <gtest/gtest.h>

#include <numeric>
#include <thread>

namespace shardline {
namespace {

uint64_t Ends(const MetricsSnapshot& now) {
  return std::accumulate(now.outcomes.begin(), now.outcomes.end(), uint64_t{0}) -
         now.outcomes[static_cast<size_t>(Outcome::kRejected)];
}

TEST(Metrics, AcceptedIsOutcomesAndInFlightInEverySnapshot) {
  Metrics metrics;
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&metrics, t] {
      for (int i = 0; i < 3000; ++i) {
        if (i % 7 == 0) {
          metrics.Rejected();
          continue;
        }
        metrics.Accepted(5);
        const bool started = i % 3 != 0;
        if (started) metrics.Started(5, 0.1);
        metrics.Ended(static_cast<Outcome>((i + t) % 6), started, 5, 0.2);
      }
    });
  }
  std::thread reader([&] {
    while (!done) {
      const MetricsSnapshot now = metrics.Snapshot();
      ASSERT_EQ(now.accepted, Ends(now) + now.running + now.queued);
      ASSERT_EQ(now.queued_tokens, now.queued * 5);
    }
  });
  for (std::thread& thread : threads) thread.join();
  done = true;
  reader.join();
  const MetricsSnapshot now = metrics.Snapshot();
  EXPECT_EQ(now.running + now.queued, 0u);
  EXPECT_EQ(now.accepted, Ends(now));
  EXPECT_EQ(now.request_seconds.count, now.accepted);
  EXPECT_EQ(now.queue_seconds.count * 5, now.prompt_tokens);
}

TEST(Metrics, DistributionCountsEachValueOnceInTheBucketOfItsUpperBound) {
  Distribution distribution({1, 2, 4});
  for (const double value : {0.5, 1.0, 1.5, 4.0, 4.5}) distribution.Observe(value);
  EXPECT_EQ(distribution.counts, (std::vector<uint64_t>{2, 1, 1, 1}));
  EXPECT_EQ(distribution.count, 5u);
  EXPECT_DOUBLE_EQ(distribution.sum, 11.5);
}

TEST(Metrics, StepsAreCountedOnceAndPreemptionsOutliveTheirWorker) {
  Metrics metrics;
  StepReport report{};
  report.step = 1;
  report.step_ns = 1000000;
  report.step_tokens = 8;
  report.kv_blocks_used = 3;
  report.kv_blocks_total = 10;
  report.preemptions = 2;
  metrics.Step(0, report);
  metrics.Step(0, report);  // the same step: something else changed
  EXPECT_EQ(metrics.Snapshot().step_seconds.count, 1u);
  metrics.WorkerLost(0);
  EXPECT_EQ(metrics.Snapshot().kv_blocks_used, 0u);
  report.preemptions = 1;
  metrics.Step(0, report);
  EXPECT_EQ(metrics.Snapshot().step_seconds.count, 2u);
  EXPECT_EQ(metrics.Snapshot().preemptions, 3u);
  EXPECT_DOUBLE_EQ(metrics.Snapshot().step_tokens.sum, 16);
}

TEST(Metrics, SeveralTokensInOneMessageShareTheTime) {
  Metrics metrics;
  metrics.FirstTokens(2, 0.5);
  metrics.LaterTokens(4, 0.4);
  const MetricsSnapshot now = metrics.Snapshot();
  EXPECT_EQ(now.output_tokens, 6u);
  EXPECT_EQ(now.time_to_first_token.count, 1u);
  EXPECT_EQ(now.inter_token_latency.count, 4u);
  EXPECT_NEAR(now.inter_token_latency.sum, 0.4, 1e-12);
}

}  // namespace
}  // namespace shardline
