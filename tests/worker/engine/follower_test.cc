// The engine on rank 0 and followers beside it, each rank a thread with its own part of a golden
// model, over the shared-memory group: the reference's tokens, however requests are batched, cut,
// preempted or computed again.
#include "worker/engine/follower.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "tests/worker/engine/rig.h"
#include "tests/worker/models/golden.h"
#include "worker/engine/kv_plan.h"
#include "worker/parallel/shm_group.h"

namespace shardline {
namespace {

using namespace std::chrono_literals;

struct Setting {
  const char* name;
  int32_t max_sequences = 8;
  int64_t max_batch_tokens = 1024;
  bool little_kv = false;
  bool kv_cache = true;
};
constexpr Setting kSettings[] = {
    {.name = "one at a time", .max_sequences = 1},
    {.name = "together, steps of 7", .max_batch_tokens = 7},
    {.name = "little KV", .max_batch_tokens = 64, .little_kv = true},
    {.name = "no KV cache", .kv_cache = false},
};

struct Checkpoint {
  const char* name;
  bool expert_parallel = false;
};

class Followers : public testing::TestWithParam<Checkpoint> {
 protected:
  void SetUp() override {
    cases_ = ReadGolden(GetParam().name);
    for (const GoldenCase& c : cases_) {
      context_ = std::max<int64_t>(context_, c.prompt.size() + c.output.size());
    }
  }

  // One rank, to the end. `port`: rank 0's.
  absl::Status RunRank(const Setting& setting, ProcessGroup& group, ListPort& port) {
    PlanBroadcast plans(group, 1);
    auto model = Model::Load({.path = GoldenCheckpoint(GetParam().name),
                              .dtype = "f32",
                              .ops = &CpuOps(),
                              .group = &group,
                              .expert_parallel = GetParam().expert_parallel,
                              .max_batch_tokens = setting.max_batch_tokens,
                              .max_context = context_},
                             nullptr);
    SL_RETURN_IF_ERROR(model.status());
    const KvLimits limits{setting.max_sequences, context_, setting.max_batch_tokens};
    SL_ASSIGN_OR_RETURN(const KvPlan kv, PlanKvTogether(group, (*model)->state_groups(), limits, 0,
                                                        uint64_t{1} << 40));
    std::vector<int32_t> blocks = kv.blocks_per_group;
    const auto few = static_cast<int32_t>((context_ + kBlockTokens - 1) / kBlockTokens + 2);
    for (size_t g = 0; g < blocks.size() && setting.little_kv; ++g) {
      blocks[g] = std::min(blocks[g], (*model)->state_groups()[g].recurrent() ? 3 : few);
    }
    SL_ASSIGN_OR_RETURN(const auto state, StateStorage::Create((*model)->state_groups(), blocks,
                                                               setting.max_sequences, context_));
    if (group.rank() > 0) return Follower(plans, **model, *state, nullptr).Run();
    EngineOptions options;
    options.limits = {setting.max_sequences, setting.max_batch_tokens};
    options.context_tokens = context_;
    options.kv_cache = setting.kv_cache;
    options.followers = &plans;
    Engine engine(options, blocks, **model, *state, port);
    for (int rounds = 0; rounds < 20000; ++rounds) {
      SL_RETURN_IF_ERROR(engine.Round(0s));
      if (port.inbox.empty() && engine.scheduler().sequences().empty()) break;
    }
    port.inbox.push_back(Shutdown{});
    return engine.Run();
  }

  void Run(const Setting& setting, int ranks, ListPort& port) {
    auto fd = ShmGroup::CreateSegment(ranks, 1);
    ASSERT_TRUE(fd.ok()) << fd.status();
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks; ++rank) {
      threads.emplace_back([&, rank] {
        auto group =
            ShmGroup::Attach(dup(*fd), {.rank = rank, .size = ranks, .epoch = 1, .limit = 300s});
        ASSERT_TRUE(group.ok()) << group.status();
        const absl::Status status = RunRank(setting, **group, port);
        EXPECT_TRUE(status.ok()) << "rank " << rank << ": " << status;
        if (!status.ok()) (*group)->Abort("the test failed");
      });
    }
    for (std::thread& thread : threads) thread.join();
    close(*fd);
  }

  std::vector<GoldenCase> cases_;
  int64_t context_ = 64;
};

TEST_P(Followers, GiveTheReferencesTokens) {
  for (const int ranks : {2, 3}) {
    for (const Setting& setting : kSettings) {
      SCOPED_TRACE(Cat(ranks, " ranks, ", setting.name));
      ListPort port;
      for (size_t i = 0; i < cases_.size(); ++i) {
        Submit submit = PlainSubmit(i + 1, cases_[i].prompt, cases_[i].output.size());
        submit.header.sampling.temperature = 0;
        submit.header.flags = kIgnoreEos | kWantLogprobs | kWantPromptLogprobs;
        port.inbox.push_back(submit);
      }
      Run(setting, ranks, port);
      for (size_t i = 0; i < cases_.size(); ++i) {
        const Outcome& outcome = port.outcomes[i + 1];
        ASSERT_EQ(outcome.tokens.size(), cases_[i].output.size());
        EXPECT_EQ(outcome.prompt.size(), cases_[i].prompt.size());
        for (size_t t = 0; t < outcome.tokens.size(); ++t) {
          ASSERT_EQ(outcome.tokens[t].id, cases_[i].output[t]);
          const float expected = cases_[i].output_logprobs[t][cases_[i].output[t]];
          ASSERT_NEAR(outcome.tokens[t].logprob, expected, 1e-4);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Followers,
                         testing::Values(Checkpoint{"llama"}, Checkpoint{"gemma3"},
                                         Checkpoint{"mistral"}, Checkpoint{"falcon_multi_query"},
                                         Checkpoint{"mixtral"}, Checkpoint{"deepseek_v2"},
                                         Checkpoint{"mamba"}, Checkpoint{"gguf_of_llama"},
                                         Checkpoint{"mixtral", true}, Checkpoint{"qwen2_moe", true},
                                         Checkpoint{"gguf_of_deepseek_v3", true}),
                         [](const auto& info) {
                           return Cat(info.param.name,
                                      info.param.expert_parallel ? "_expert_parallel" : "");
                         });

// A model that fails on one rank, at its second step.
class FailingModel final : public Model {
 public:
  explicit FailingModel(bool fails) : fails_(fails) {}
  const ModelInfo& info() const override { return model_.info(); }
  const std::vector<StateGroup>& state_groups() const override { return model_.state_groups(); }
  absl::Status Forward(const StepPlan& plan, StateStorage& state) override {
    if (fails_ && ++steps_ == 2) throw std::runtime_error("no memory here");
    return model_.Forward(plan, state);
  }
  absl::Status Logits(int64_t first, int64_t count, const View& logits) override {
    return model_.Logits(first, count, logits);
  }

 private:
  MockModel model_{MockState::kPaged};
  const bool fails_;
  int steps_ = 0;
};

TEST(FollowerErrors, ARankThatFailsEndsTheGroupWithItsReason) {
  for (const int failing : {0, 1}) {
    SCOPED_TRACE(failing);
    auto fd = ShmGroup::CreateSegment(2, 1);
    ASSERT_TRUE(fd.ok());
    std::vector<absl::Status> ends(2);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 2; ++rank) {
      threads.emplace_back([&, rank] {
        auto group = ShmGroup::Attach(dup(*fd), {.rank = rank, .size = 2, .epoch = 1});
        ASSERT_TRUE(group.ok());
        PlanBroadcast plans(**group, 1);
        FailingModel model(rank == failing);
        const std::vector<int32_t> blocks(model.state_groups().size(), 64);
        auto state = StateStorage::Create(model.state_groups(), blocks, 4, 256);
        ASSERT_TRUE(state.ok());
        if (rank == 1) {
          ends[1] = Follower(plans, model, **state, nullptr).Run();
          return;
        }
        ListPort port;
        EngineOptions options;
        options.limits = {4, 64};
        options.context_tokens = 256;
        options.followers = &plans;
        Engine engine(options, blocks, model, **state, port);
        port.inbox.push_back(PlainSubmit(1, {5, 6, 7}, 100000));
        port.inbox.push_back(PlainSubmit(2, {5, 6, 7}, 200));
        for (int i = 0; i < 1000 && ends[0].ok(); ++i) ends[0] = engine.Round(0s);
        EXPECT_FALSE(port.outcomes[2].over()) << "the gateway says that the worker is lost";
      });
    }
    for (std::thread& thread : threads) thread.join();
    close(*fd);
    for (const absl::Status& end : ends) {
      EXPECT_THAT(Message(end), testing::HasSubstr("no memory here"));
    }
  }
}

}  // namespace
}  // namespace shardline
