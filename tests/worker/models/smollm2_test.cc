// The default model's greedy continuations in f32 against transformers on the same dequantised
// weights (tests/golden/smollm2.json, made by tools/make_golden.py --smollm2). Needs the model's
// file.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/worker/models/runner.h"

namespace shardline {
namespace {

constexpr char kFile[] = SHARDLINE_SOURCE_DIR "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
constexpr double kSureGap =
    1e-3;  // a smaller lead of the best token over the next may fall either way

TEST(SmolLM2, GreedyContinuationsAreTheReferences) {
  if (!std::filesystem::exists(kFile)) GTEST_SKIP() << kFile << " is not there";
  const LoadedModel loaded = LoadModel(kFile, CpuOps(), "f32", 2);
  ASSERT_NE(loaded.model, nullptr);
  const ModelInfo& info = loaded.model->info();
  EXPECT_EQ(info.family, "llama");
  EXPECT_EQ(info.quantisation, "Q4_1");
  EXPECT_EQ(info.context_tokens, 8192);
  EXPECT_EQ(info.parameters, 134515008);

  std::ifstream file(SHARDLINE_SOURCE_DIR "/tests/golden/smollm2.json");
  const auto cases = nlohmann::json::parse(file)["cases"];
  ASSERT_GE(cases.size(), 6u);
  Runner runner(*loaded.model, 1, 256);
  for (const auto& c : cases) {
    const auto prompt = c["prompt"].get<std::vector<uint32_t>>();
    const auto output = c["output"].get<std::vector<uint32_t>>();
    const auto gaps = c["top2_gap"].get<std::vector<double>>();
    // All at once: every position's best token has to be the next one.
    std::vector<uint32_t> tokens = prompt;
    tokens.insert(tokens.end(), output.begin(), output.end() - 1);
    runner.Restart();
    const Logits logits = runner.Step({{0, tokens, static_cast<uint32_t>(prompt.size())}});
    for (size_t i = 0; i < output.size() && gaps[i] >= kSureGap; ++i) {
      const std::vector<float>& row = logits[prompt.size() - 1 + i];
      ASSERT_EQ(std::max_element(row.begin(), row.end()) - row.begin(), output[i])
          << c["text"] << " token " << i;
      std::vector<float> top = row;
      std::nth_element(top.begin(), top.begin() + 1, top.end(), std::greater<>());
      EXPECT_NEAR(row[output[i]] - top[1], gaps[i], 1e-3) << c["text"] << " token " << i;
    }
  }
}

// The f32 and bf16 forms of the model agree on almost every token.
TEST(SmolLM2, Bf16AgreesWithF32) {
  if (!std::filesystem::exists(kFile)) GTEST_SKIP() << kFile << " is not there";
  const LoadedModel loaded = LoadModel(kFile, CpuOps(), "bf16", 2);
  ASSERT_NE(loaded.model, nullptr);
  std::ifstream file(SHARDLINE_SOURCE_DIR "/tests/golden/smollm2.json");
  const auto cases = nlohmann::json::parse(file)["cases"];
  Runner runner(*loaded.model, 1, 256);
  for (const auto& c : cases) {
    const auto prompt = c["prompt"].get<std::vector<uint32_t>>();
    const auto output = c["output"].get<std::vector<uint32_t>>();
    const auto gaps = c["top2_gap"].get<std::vector<double>>();
    std::vector<uint32_t> tokens = prompt;
    tokens.insert(tokens.end(), output.begin(), output.end() - 1);
    runner.Restart();
    const Logits logits = runner.Step({{0, tokens, static_cast<uint32_t>(prompt.size())}});
    for (size_t i = 0; i < output.size(); ++i) {
      if (gaps[i] < 1.0) continue;  // several times what rounding to bf16 moves a logit
      const std::vector<float>& row = logits[prompt.size() - 1 + i];
      EXPECT_EQ(std::max_element(row.begin(), row.end()) - row.begin(), output[i])
          << c["text"] << " token " << i;
    }
  }
}

}  // namespace
}  // namespace shardline
