// Real models' greedy and penalised continuations against transformers in f32 on the same
// dequantised weights (tests/golden/*.json, made by tools/make_golden.py). Needs the models' files:
// tools/deps model test-models.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/worker/engine/submits.h"
#include "tests/worker/models/runner.h"
#include "worker/engine/sampler.h"

namespace shardline {
namespace {

// A smaller lead of the best token over the next may fall either way: in f32, and with bf16, which
// moves a logit by a few tenths.
constexpr double kSureGap = 1e-3, kSureGapBf16 = 1.0;

struct RealModel {
  const char* name;
  const char* file;
  const char* continuations;
  const char* family;
  const char* quantisation;  // of most weights
  int64_t context, parameters;
};
constexpr RealModel kModels[] = {
    {"SmolLM2", "SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2.json", "llama", "Q4_1", 8192,
     134515008},
    {"Gemma3", "gemma-3-270m-q4_k_m.gguf", "gemma3_270m.json", "gemma3", "Q8_0", 32768, 268098176},
};

class Continuations : public testing::TestWithParam<RealModel> {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("SHARDLINE_MODELS");
    path_ = Cat(folder != nullptr ? folder : SHARDLINE_SOURCE_DIR "/models", "/", GetParam().file);
    if (!std::filesystem::exists(path_)) GTEST_SKIP() << path_ << " is not there";
    std::ifstream file(Cat(SHARDLINE_SOURCE_DIR "/tests/golden/", GetParam().continuations));
    cases_ = nlohmann::json::parse(file)["cases"];
    ASSERT_GE(cases_.size(), 6u);
  }

  // What comes after each token of prompt and output but the last: all at once, so that every
  // position's best token has to be the next one.
  static Logits Run(Runner& runner, const nlohmann::json& c) {
    std::vector<uint32_t> tokens = c["prompt"].get<std::vector<uint32_t>>();
    const auto prompt = static_cast<uint32_t>(tokens.size());
    const auto output = c["output"].get<std::vector<uint32_t>>();
    tokens.insert(tokens.end(), output.begin(), output.end() - 1);
    runner.Restart();
    return runner.Step({{0, tokens, prompt}}, prompt - 1);
  }

  std::string path_;
  nlohmann::json cases_;
};

TEST_P(Continuations, AreTheReferencesInF32) {
  const LoadedModel loaded = LoadModel(path_, CpuOps(), "f32", 2);
  ASSERT_NE(loaded.model, nullptr);
  const ModelInfo& info = loaded.model->info();
  EXPECT_EQ(info.family, GetParam().family);
  EXPECT_EQ(info.quantisation, GetParam().quantisation);
  EXPECT_EQ(info.context_tokens, GetParam().context);
  EXPECT_EQ(info.parameters, GetParam().parameters);

  Runner runner(*loaded.model, 1, 1024);
  SampleScratch scratch;
  for (const auto& c : cases_) {
    SCOPED_TRACE(c["text"].dump() + (c.contains("penalties") ? " penalised" : ""));
    const auto output = c["output"].get<std::vector<uint32_t>>();
    const auto gaps = c["top2_gap"].get<std::vector<double>>();
    Submit submit = PlainSubmit(1, c["prompt"].get<std::vector<uint32_t>>(), output.size());
    FlatSampling& sampling = submit.header.sampling;
    sampling.temperature = 0;
    if (c.contains("penalties")) {
      sampling.repeat_last_n = -1;
      sampling.repetition_penalty = c["penalties"]["repetition_penalty"];
      sampling.frequency_penalty = c["penalties"]["frequency_penalty"];
      sampling.presence_penalty = c["penalties"]["presence_penalty"];
    }
    auto sampler = Sampler::Create(submit, 0, static_cast<uint32_t>(info.vocabulary_size), {});
    ASSERT_TRUE(sampler.ok()) << sampler.status();
    Logits logits = Run(runner, c);
    for (size_t i = 0; i < output.size() && gaps[i] >= kSureGap; ++i) {
      ASSERT_EQ(sampler->Next(logits[i], scratch).token.id, output[i]) << "token " << i;
      sampler->Push(output[i]);
      if (c.contains("penalties")) continue;
      std::vector<float> top = logits[i];
      std::nth_element(top.begin(), top.begin() + 1, top.end(), std::greater<>());
      EXPECT_NEAR(logits[i][output[i]] - top[1], gaps[i], 1e-3) << "token " << i;
    }
  }
}

TEST_P(Continuations, Bf16AgreesWhereTheLeadIsLarge) {
  const LoadedModel loaded = LoadModel(path_, CpuOps(), "bf16", 2);
  ASSERT_NE(loaded.model, nullptr);
  Runner runner(*loaded.model, 1, 1024);
  for (const auto& c : cases_) {
    if (c.contains("penalties")) continue;
    const auto output = c["output"].get<std::vector<uint32_t>>();
    const auto gaps = c["top2_gap"].get<std::vector<double>>();
    const Logits logits = Run(runner, c);
    for (size_t i = 0; i < output.size(); ++i) {
      if (gaps[i] < kSureGapBf16) continue;
      EXPECT_EQ(std::max_element(logits[i].begin(), logits[i].end()) - logits[i].begin(), output[i])
          << c["text"] << " token " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Continuations, testing::ValuesIn(kModels),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace shardline
