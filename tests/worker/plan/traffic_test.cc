// What ranks without weights count, beside what ranks with them exchange, and beside what a model's
// blocks imply.
#include "worker/plan/traffic.h"

#include <thread>

#include "tests/worker/models/mixtures.h"
#include "tests/worker/models/runner.h"
#include "tests/worker/models/thread_group.h"
#include "worker/plan/dry_rank.h"

namespace shardline {
namespace {

constexpr int kMostRanks = 3;
constexpr int64_t kContext = 128;
const std::vector<DryStep> kSteps = {
    {.tokens = 7}, {.first_position = 7}, {.sequences = 3, .tokens = 2}};

// A rank of a real group whose calls are counted.
class CountedRank final : public ProcessGroup {
 public:
  explicit CountedRank(std::unique_ptr<ProcessGroup> rank)
      : rank_(std::move(rank)), count_(rank_->rank(), rank_->size()) {}
  int rank() const override { return rank_->rank(); }
  int size() const override { return rank_->size(); }
  absl::Status AllReduce(const View& data) override {
    SL_RETURN_IF_ERROR(count_.AllReduce(data));
    return rank_->AllReduce(data);
  }
  absl::Status AllGather(const View& in, const View& out) override {
    SL_RETURN_IF_ERROR(count_.AllGather(in, out));
    return rank_->AllGather(in, out);
  }
  absl::Status Broadcast(const View& data, int root) override {
    return rank_->Broadcast(data, root);
  }
  absl::Status Barrier() override { return rank_->Barrier(); }
  void SetLimit(std::chrono::nanoseconds) override {}
  void Abort(std::string_view reason) override { rank_->Abort(reason); }
  absl::Status ended() const override { return rank_->ended(); }
  Traffic Take() { return count_.Take(); }

 private:
  std::unique_ptr<ProcessGroup> rank_;
  CountingGroup count_;
};

ModelOptions Options(const std::string& name, bool expert_parallel) {
  return {.path = GoldenCheckpoint(name),
          .dtype = "bf16",
          .ops = &CpuOps(),
          .expert_parallel = expert_parallel,
          .max_batch_tokens = 32,
          .max_context = kContext};
}

// Traffic of each of kSteps.
absl::StatusOr<std::vector<Traffic>> RunReal(ModelOptions options, CountedRank& group) {
  options.group = &group;
  SL_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Load(options, nullptr));
  Runner runner(*model, 3, kContext);
  std::vector<Traffic> traffic;
  for (const DryStep& step : kSteps) {
    const std::vector<uint32_t> tokens(step.tokens, 5);
    std::vector<Part> parts;
    for (uint32_t s = 0; s < step.sequences; ++s) parts.push_back({s, tokens, 7});
    group.Take();
    runner.Step(parts, static_cast<int32_t>(step.tokens - 1));
    traffic.push_back(group.Take());
  }
  return traffic;
}

// By the blocks' structure: one sum for what a block adds to the stream at once.
Traffic Implied(const ModelSpec& spec, int ranks, const DryStep& step) {
  Traffic traffic;
  if (ranks == 1) return traffic;
  const int64_t tokens = step.sequences * step.tokens;
  const auto sum = [&](int64_t elements, int64_t size) {
    ++traffic.all_reduces;
    traffic.all_reduce_bytes += tokens * elements * size;
  };
  sum(spec.hidden, spec.wide_stream ? 4 : 2);  // embeddings
  for (const Block& block : spec.blocks) {
    const bool parallel =
        block.residual == Residual::kParallel || block.residual == Residual::kParallelTwoNorms;
    const bool ffn = !std::holds_alternative<std::monostate>(block.ffn);
    for (int i = 0; i < (parallel || !ffn ? 1 : 2); ++i) sum(spec.hidden, 2);
    if (const auto* mamba = std::get_if<Mamba>(&block.mixer)) {
      sum(mamba->dt_rank + 2 * mamba->state, 2);
    }
    if (const auto* attention = std::get_if<Attention>(&block.mixer)) {
      const int64_t all = (attention->heads + attention->kv_heads) * attention->head_dim;
      if (attention->row_norm) sum(all, 2);
    }
  }
  traffic.all_gathers = 1;
  traffic.all_gather_bytes = step.sequences * ((spec.vocabulary + ranks - 1) / ranks) * 4;
  return traffic;
}

class TrafficOfRanks : public testing::TestWithParam<std::string> {};

void ExpectRealTraffic(const ModelOptions& options) {
  int fit = 0;
  for (int ranks = 1; ranks <= kMostRanks; ++ranks) {
    SCOPED_TRACE(Cat(ranks, " ranks"));
    ThreadRanks group(ranks);
    std::vector<absl::StatusOr<std::vector<Traffic>>> real(ranks);
    std::vector<std::thread> threads;
    for (int r = 0; r < ranks; ++r) {
      threads.emplace_back([&, r] {
        CountedRank counted(group.Rank(r));
        real[r] = RunReal(options, counted);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (int r = 0; r < ranks; ++r) {
      const auto dry = DryRank::Open(options, {r, ranks});
      ASSERT_EQ(dry.status(), real[r].status());
      if (!dry.ok()) continue;
      ++fit;
      for (size_t i = 0; i < kSteps.size(); ++i) {
        const auto cost = (*dry)->Run(kSteps[i]);
        ASSERT_TRUE(cost.ok()) << cost.status();
        EXPECT_EQ(cost->traffic, (*real[r])[i]);
        EXPECT_EQ(cost->traffic, Implied((*dry)->spec(), ranks, kSteps[i]));
      }
    }
  }
  EXPECT_GE(fit, 3) << "not even two ranks fit";
}

TEST_P(TrafficOfRanks, IsWhatIsExchanged) {
  ExpectRealTraffic(Options(GetParam(), false));
  if (IsMixture(GetParam())) ExpectRealTraffic(Options(GetParam(), true));
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, TrafficOfRanks, testing::ValuesIn(GoldenNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace shardline
