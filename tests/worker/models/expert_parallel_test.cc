// Experts dealt out to ranks: each on one of them, as a whole, and what every rank says of the
// model. That the ranks' sums are right is ranks_test's affair.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "tests/worker/models/mixtures.h"
#include "tests/worker/models/thread_group.h"
#include "worker/weights/resolve.h"

namespace shardline {
namespace {

// Rank `rank`'s part, of which nothing is computed.
absl::StatusOr<OpenedModel> Open(const std::string& path, int rank, int ranks,
                                 bool expert_parallel = true) {
  ThreadRanks threads(ranks);
  const auto group = threads.Rank(rank);
  return OpenModel({.path = path,
                    .dtype = "f32",
                    .ops = &CpuOps(),
                    .group = group.get(),
                    .expert_parallel = expert_parallel});
}

class ExpertParallel : public testing::TestWithParam<std::string> {};

TEST_P(ExpertParallel, EveryExpertIsOnOneRankAsAWhole) {
  for (int ranks = 2; ranks <= 4; ++ranks) {
    std::map<std::string, int64_t> next;  // by slot: the first expert that no rank has had yet
    std::map<std::string, std::set<int64_t>> counts;  // and how many each rank has
    for (int rank = 0; rank < ranks; ++rank) {
      SCOPED_TRACE(Cat("rank ", rank, " of ", ranks));
      const auto opened = Open(GoldenCheckpoint(GetParam()), rank, ranks);
      if (!opened.ok() && ranks > 2) break;  // some have three heads, or two experts
      ASSERT_TRUE(opened.ok()) << opened.status();
      std::map<std::string, int64_t> own;
      for (const MatrixTarget& target : opened->decoder->plan().matrices) {
        for (const WeightSlot& slot : target.parts) {
          if (slot.name.find(".expert_") == slot.name.npos) continue;
          EXPECT_EQ(slot.expert.index, next[slot.name]++) << slot.name;
          EXPECT_EQ(slot.elements(), slot.axes[0].size * slot.axes[1].size) << slot.name;
          ++own[slot.name];
        }
      }
      for (const auto& [name, count] : own) counts[name].insert(count);
      EXPECT_TRUE(ResolveSources(*opened->checkpoint, opened->names, opened->decoder->plan()).ok());
    }
    if (next.empty()) continue;
    const auto whole = Open(GoldenCheckpoint(GetParam()), 0, 1);
    ASSERT_TRUE(whole.ok()) << whole.status();
    for (const MatrixTarget& target : whole->decoder->plan().matrices) {
      const WeightSlot& slot = target.parts[0];
      if (slot.name.find(".expert_") == slot.name.npos) continue;
      EXPECT_EQ(next[slot.name], slot.expert.count) << slot.name;
      EXPECT_LE(*counts[slot.name].rbegin() - *counts[slot.name].begin(), 1) << slot.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, ExpertParallel, testing::ValuesIn(GoldenMixtures()),
                         [](const auto& info) { return info.param; });

TEST(ExpertParallel, RanksReportTheParametersOfTheWholeModel) {
  for (const std::string& name : GoldenNames()) {
    const auto whole = Open(GoldenCheckpoint(name), 0, 1, false);
    ASSERT_TRUE(whole.ok()) << whole.status();
    for (const bool expert_parallel : {false, true}) {
      if (expert_parallel && !IsMixture(name)) continue;
      for (int ranks = 2; ranks <= 3; ++ranks) {
        for (int rank = 0; rank < ranks; ++rank) {
          const auto opened = Open(GoldenCheckpoint(name), rank, ranks, expert_parallel);
          if (!opened.ok()) continue;  // too few heads
          EXPECT_EQ(opened->info.parameters, whole->info.parameters)
              << name << ", rank " << rank << " of " << ranks;
        }
      }
    }
  }
}

TEST(ExpertParallel, TooFewExpertsAreRefused) {
  const std::string path = GoldenCheckpoint("mixtral");  // four experts
  for (int rank = 0; rank < 5; ++rank) {
    const std::string error = Message(Open(path, rank, 5).status());
    EXPECT_TRUE(
        error.starts_with(Cat(path, ": --tensor-parallel=5 with --expert-parallel is too many: ")))
        << error;
    EXPECT_NE(error.find("axis experts has 4 parts of 1, too few for 5 ranks"), error.npos)
        << error;
  }
}

TEST(ExpertParallel, AModelWithoutExpertsIsRefused) {
  for (const std::string name : {"llama", "mamba", "gguf_of_llama"}) {
    const std::string path = GoldenCheckpoint(name);
    EXPECT_EQ(Message(Open(path, 0, 1).status()),
              Cat(path, ": --expert-parallel: this model has no experts"));
  }
}

// What is wrong with an expert is found by those who have it and by all others.
TEST(ExpertParallel, EveryRankChecksAllExperts) {
  const std::string folder = testing::TempDir() + "/expert_parallel_missing";
  std::filesystem::remove_all(folder);
  std::filesystem::copy(GoldenFolder() + "/mixtral", folder);
  const std::string file = folder + "/model.safetensors", name = "1.block_sparse_moe.experts.3.w2";
  std::ifstream in(file, std::ios::binary);
  std::string bytes = (std::ostringstream() << in.rdbuf()).str();
  ASSERT_NE(bytes.find(name), bytes.npos);
  bytes[bytes.find(name) + name.size() - 1] = '9';
  std::ofstream(file, std::ios::binary) << bytes;
  for (int rank = 0; rank < 2; ++rank) {
    const auto opened = Open(folder, rank, 2);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(
        Message(
            ResolveSources(*opened->checkpoint, opened->names, opened->decoder->plan()).status()),
        Cat(folder, ": missing tensors: model.layers.", name,
            ".weight; unused tensors: model.layers.1.block_sparse_moe.experts.3.w9.weight"));
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace shardline
