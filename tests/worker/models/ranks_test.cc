// Every golden checkpoint cut for several ranks, each a thread with its own part of the weights;
// mixtures also with their experts dealt out.
#include <cmath>
#include <thread>

#include "kernels/ops.h"
#include "tests/worker/models/mixtures.h"
#include "tests/worker/models/runner.h"
#include "tests/worker/models/thread_group.h"

namespace shardline {
namespace {

constexpr int kMostRanks = 4;

struct Cut {
  std::string name;
  bool expert_parallel;
};

std::vector<Cut> Cuts() {
  std::vector<Cut> all;
  for (const std::string& name : GoldenNames()) all.push_back({name, false});
  for (const std::string& name : GoldenMixtures()) all.push_back({name, true});
  return all;
}

struct RankResult {
  absl::Status status;
  std::vector<Logits> whole, pieces;  // by case
};

// Loads rank `rank`'s part and runs all cases, in one piece and in steps of 7.
void RunRank(const Cut& cut, const std::string& dtype, int64_t context, ProcessGroup& group,
             RankResult& result) {
  auto model = Model::Load({.path = GoldenCheckpoint(cut.name),
                            .dtype = dtype,
                            .ops = &CpuOps(),
                            .group = &group,
                            .expert_parallel = cut.expert_parallel,
                            .max_batch_tokens = 1024,
                            .max_context = context},
                           nullptr);
  result.status = model.status();
  if (!model.ok()) return;
  Runner runner(**model, 1, context);
  for (const GoldenCase& c : ReadGolden(cut.name)) {
    runner.Restart();
    result.whole.push_back(runner.Sequence(c.Fed(), c.prompt.size(), c.prompt.size()));
    runner.Restart();
    result.pieces.push_back(runner.Sequence(c.Fed(), c.prompt.size(), 7));
  }
}

std::vector<RankResult> RunRanks(const Cut& cut, const std::string& dtype, int ranks) {
  int64_t context = 128;
  for (const GoldenCase& c : ReadGolden(cut.name)) {
    context = std::max<int64_t>(context, c.prompt.size() + c.output.size());
  }
  ThreadRanks group(ranks);
  std::vector<RankResult> results(ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      const auto own = group.Rank(rank);
      RunRank(cut, dtype, context, *own, results[rank]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

bool SameBits(const std::vector<Logits>& a, const std::vector<Logits>& b) {
  return a == b;  // none of them is a NaN: each is compared with the reference as well
}

void ExpectNear(const Logits& logits, const std::vector<std::vector<float>>& expected) {
  ASSERT_EQ(logits.size(), expected.size());
  double most = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const std::vector<double> got = LogSoftmax(logits[i]);
    for (size_t j = 0; j < got.size(); ++j) {
      const double difference = std::abs(got[j] - expected[i][j]);
      if (!(difference <= most)) most = difference;  // a NaN sticks
    }
  }
  EXPECT_LE(most, 1e-4);
}

class Ranks : public testing::TestWithParam<Cut> {};

TEST_P(Ranks, GiveTheReferencesLogProbabilities) {
  const std::vector<GoldenCase> cases = ReadGolden(GetParam().name);
  int fit = 0;
  for (int ranks = 2; ranks <= kMostRanks; ++ranks) {
    SCOPED_TRACE(Cat(ranks, " ranks"));
    const std::vector<RankResult> results = RunRanks(GetParam(), "f32", ranks);
    for (const RankResult& result : results) {
      EXPECT_EQ(result.status.code(), results[0].status.code());
    }
    if (!results[0].status.ok()) {
      EXPECT_NE(Message(results[0].status).find("--tensor-parallel"), std::string::npos)
          << results[0].status;
      continue;
    }
    ++fit;
    for (size_t i = 0; i < cases.size(); ++i) ExpectNear(results[0].whole[i], cases[i].Expected());
    for (const RankResult& result : results) {
      EXPECT_TRUE(SameBits(result.whole, results[0].whole));
      EXPECT_TRUE(SameBits(result.pieces, result.whole));
    }
  }
  EXPECT_GT(fit, 0) << "no number of ranks fits";
}

TEST_P(Ranks, AgreeInNarrowTypes) {
  for (const char* dtype : {"bf16", "f16"}) {
    const std::vector<RankResult> results = RunRanks(GetParam(), dtype, 2);
    for (const RankResult& result : results) {
      ASSERT_TRUE(result.status.ok()) << result.status;
      EXPECT_TRUE(SameBits(result.whole, results[0].whole)) << dtype;
      EXPECT_TRUE(SameBits(result.pieces, result.whole)) << dtype;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Ranks, testing::ValuesIn(Cuts()), [](const auto& info) {
  return info.param.name + (info.param.expert_parallel ? "_expert_parallel" : "");
});

}  // namespace
}  // namespace shardline
