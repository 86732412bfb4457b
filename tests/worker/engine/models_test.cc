// The engine with the golden models: the reference's tokens, and the same bits however a request is
// batched, cut, preempted or computed again, also where windows give blocks back.
#include <gtest/gtest.h>

#include <map>

#include "tests/worker/engine/rig.h"
#include "tests/worker/models/golden.h"
#include "tests/worker/models/runner.h"
#include "worker/engine/kv_plan.h"

namespace shardline {
namespace {

struct Setting {
  const char* name;
  int32_t max_sequences = 8;
  int64_t max_batch_tokens = 1024;
  int32_t blocks = 0;  // of every group; 0: as planned for full contexts
  bool kv_cache = true;
  bool strangers = false;
  uint32_t outputs = 1;
};
constexpr Setting kSettings[] = {
    {.name = "steps of 7", .max_batch_tokens = 7},
    {.name = "among strangers", .strangers = true},
    {.name = "among strangers, steps of 7", .max_batch_tokens = 7, .strangers = true},
    {.name = "little KV", .max_batch_tokens = 64, .blocks = -1, .strangers = true},
    {.name = "no KV cache", .kv_cache = false},
    {.name = "no KV cache, steps of 7, strangers",
     .max_batch_tokens = 7,
     .kv_cache = false,
     .strangers = true},
    {.name = "three outputs", .outputs = 3},
    {.name = "three outputs, little KV, steps of 40",
     .max_batch_tokens = 40,
     .blocks = -1,
     .strangers = true,
     .outputs = 3},
};

class EngineOnModels : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    cases_ = ReadGolden(GetParam());
    for (const GoldenCase& c : cases_) {
      context_ = std::max<int64_t>(context_, c.prompt.size() + c.output.size());
    }
  }

  Submit Request(size_t i, uint32_t outputs) const {
    Submit submit = PlainSubmit(i + 1, cases_[i].prompt, cases_[i].output.size());
    submit.header.sampling.temperature = 0;
    submit.header.flags = kIgnoreEos | kWantLogprobs | kWantPromptLogprobs;
    submit.header.top_logprobs = 3;
    submit.header.outputs = outputs;
    return submit;
  }

  // All golden prompts at once, and whoever else; the outcomes of all outputs.
  std::map<std::pair<RequestKey, uint32_t>, Outcome> Run(const Setting& setting,
                                                         const std::string& dtype) {
    LoadedModel loaded = LoadModel(GoldenCheckpoint(GetParam()), CpuOps(), dtype, 1, context_);
    Model& model = *loaded.model;
    const KvLimits limits{setting.max_sequences, context_, setting.max_batch_tokens};
    auto plan = PlanKv(model.state_groups(), limits, 0, uint64_t{1} << 40);
    std::vector<int32_t> blocks = plan->blocks_per_group;
    if (setting.blocks < 0) {  // room for the longest and a little beside it
      const auto few = static_cast<int32_t>((context_ + kBlockTokens - 1) / kBlockTokens + 2);
      for (size_t g = 0; g < blocks.size(); ++g) {
        blocks[g] = std::min(blocks[g], model.state_groups()[g].recurrent() ? 3 : few);
      }
    }
    auto state =
        StateStorage::Create(model.state_groups(), blocks, setting.max_sequences, context_);
    ListPort port;
    EngineOptions options;
    options.limits = {setting.max_sequences, setting.max_batch_tokens};
    options.context_tokens = context_;
    options.kv_cache = setting.kv_cache;
    Engine engine(options, blocks, model, **state, port);
    for (uint32_t s = 0; setting.strangers && s < 5; ++s) {
      const size_t length = 5 + 9 * s;
      Submit stranger = PlainSubmit(100 + s, {}, 30);
      for (size_t t = 0; t < length; ++t) {
        stranger.prompt.push_back((t * 13 + s) % model.info().vocabulary_size);
      }
      stranger.header.flags = kIgnoreEos;
      stranger.header.sampling.seed = s;
      port.inbox.push_back(stranger);
    }
    for (size_t i = cases_.size(); i-- > 0;) port.inbox.push_back(Request(i, setting.outputs));

    std::map<std::pair<RequestKey, uint32_t>, Outcome> outcomes;
    for (int rounds = 0; rounds < 20000; ++rounds) {
      const absl::Status status = engine.Round(std::chrono::seconds(0));
      EXPECT_TRUE(status.ok()) << status;
      if (port.inbox.empty() && engine.scheduler().sequences().empty()) break;
    }
    EXPECT_EQ(engine.scheduler().blocks().used(), 0u);
    // Windows give back so much that none is put out, and recurrent states do not grow.
    const StateGroup& group = model.state_groups()[0];
    const bool keeps_all = blocks.size() == 1 && (group.window > 0 || group.recurrent());
    if (setting.blocks < 0 && !keeps_all) {
      EXPECT_GT(port.reports.back().preemptions, 0u);
    }
    for (size_t i = 0; i < cases_.size(); ++i) {
      for (uint32_t o = 0; o < setting.outputs; ++o) {
        outcomes[{i + 1, o}] = port.Of(i + 1, o);
      }
    }
    return outcomes;
  }

  std::vector<GoldenCase> cases_;
  int64_t context_ = 64;
};

TEST_P(EngineOnModels, EveryWayOfServingGivesTheSameBits) {
  for (const char* dtype : {"f32", "bf16", "f16"}) {
    SCOPED_TRACE(dtype);
    const auto alone = Run({.name = "one at a time", .max_sequences = 1}, dtype);
    for (size_t i = 0; i < cases_.size() && std::string(dtype) == "f32"; ++i) {
      const Outcome& outcome = alone.at({i + 1, 0});
      ASSERT_EQ(outcome.tokens.size(), cases_[i].output.size());
      for (size_t t = 0; t < outcome.tokens.size(); ++t) {
        ASSERT_EQ(outcome.tokens[t].id, cases_[i].output[t]);
        const float expected = cases_[i].output_logprobs[t][cases_[i].output[t]];
        ASSERT_NEAR(outcome.tokens[t].logprob, expected, 1e-4);
      }
    }
    for (const Setting& setting : kSettings) {
      SCOPED_TRACE(setting.name);
      for (const auto& [key, outcome] : Run(setting, dtype)) {
        Outcome expected = alone.at({key.first, 0});
        if (key.second > 0) expected.prompt.clear(), expected.prompt_top.clear();
        ExpectOutcome(outcome, expected, key.first);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EngineOnModels,
                         testing::Values("llama", "dynamic", "qwen2_windows", "mistral", "gemma2",
                                         "phi3_longrope", "granite", "glm4", "mixtral",
                                         "mistral_long", "gemma3", "mpt", "bigcode", "qwen2_moe",
                                         "granite_moe", "deepseek_moe", "deepseek_v2", "mamba",
                                         "falcon_mamba"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace shardline
