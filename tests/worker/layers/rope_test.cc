// Frequencies of every scaling against transformers 5.23.0: LlamaRotaryEmbedding of a model with
// head_dim 16 and max_position_embeddings 1024, after a forward pass of the given length.
#include "worker/layers/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

namespace shardline {
namespace {

std::vector<float> Ramp(float first, float step) {
  std::vector<float> out;
  for (int i = 0; i < 8; ++i) out.push_back(first + step * static_cast<float>(i));
  return out;
}

const std::map<std::string, Rope>& Ropes() {
  static const std::map<std::string, Rope> kRopes = {
      {"default", {.rot_dim = 16}},
      {"linear", {.rot_dim = 16, .scaling = LinearScaling{4}}},
      {"dynamic", {.rot_dim = 16, .scaling = DynamicScaling{2, 1024}}},
      {"yarn",
       {.rot_dim = 16,
        .scaling =
            YarnScaling{
                .factor = 8, .original_positions = 256, .attention_factor = YarnMagnitude(8, 1)}}},
      {"yarn_untruncated",
       {.theta = 50000,
        .rot_dim = 16,
        .scaling = YarnScaling{.factor = 8,
                               .original_positions = 256,
                               .attention_factor = YarnMagnitude(8, 0.8) / YarnMagnitude(8, 0.5),
                               .beta_fast = 24,
                               .beta_slow = 2,
                               .truncate = false}}},
      {"longrope",
       {.rot_dim = 16,
        .scaling =
            LongropeScaling{.short_factors = Ramp(1, 0.1f),
                            .long_factors = Ramp(2, 0.5f),
                            .original_positions = 256,
                            .attention_factor = std::sqrt(1 + std::log(4) / std::log(256))}}},
      {"llama3", {.theta = 500000, .rot_dim = 16, .scaling = Llama3Scaling{8, 1, 4, 256}}},
  };
  return kRopes;
}

struct Reference {
  const char* name;
  int64_t length;
  float attention_factor;
  std::vector<float> frequencies;
};
const std::vector<Reference>& References() {
  static const std::vector<Reference> kReferences = {
      {"default",
       10,
       1.0f,
       {1.0f, 0.316227764f, 0.100000001f, 0.0316227786f, 0.00999999978f, 0.00316227786f,
        0.00100000005f, 0.000316227786f}},
      {"default",
       300,
       1.0f,
       {1.0f, 0.316227764f, 0.100000001f, 0.0316227786f, 0.00999999978f, 0.00316227786f,
        0.00100000005f, 0.000316227786f}},
      {"default",
       3000,
       1.0f,
       {1.0f, 0.316227764f, 0.100000001f, 0.0316227786f, 0.00999999978f, 0.00316227786f,
        0.00100000005f, 0.000316227786f}},
      {"linear",
       10,
       1.0f,
       {0.25f, 0.079056941f, 0.0250000004f, 0.00790569466f, 0.00249999994f, 0.000790569466f,
        0.000250000012f, 7.90569466e-05f}},
      {"linear",
       300,
       1.0f,
       {0.25f, 0.079056941f, 0.0250000004f, 0.00790569466f, 0.00249999994f, 0.000790569466f,
        0.000250000012f, 7.90569466e-05f}},
      {"linear",
       3000,
       1.0f,
       {0.25f, 0.079056941f, 0.0250000004f, 0.00790569466f, 0.00249999994f, 0.000790569466f,
        0.000250000012f, 7.90569466e-05f}},
      {"dynamic",
       10,
       1.0f,
       {1.0f, 0.316227764f, 0.100000001f, 0.0316227786f, 0.00999999978f, 0.00316227786f,
        0.00100000005f, 0.000316227786f}},
      {"dynamic",
       300,
       1.0f,
       {1.0f, 0.316227764f, 0.100000001f, 0.0316227786f, 0.00999999978f, 0.00316227786f,
        0.00100000005f, 0.000316227786f}},
      {"dynamic",
       3000,
       1.0f,
       {1.0f, 0.252299905f, 0.0636552423f, 0.0160602108f, 0.00405198941f, 0.00102231663f,
        0.000257930369f, 6.50758084e-05f}},
      {"yarn",
       10,
       1.20794415f,
       {1.0f, 0.247052938f, 0.0562500022f, 0.01087033f, 0.00124999997f, 0.000395284733f,
        0.000125000006f, 3.95284733e-05f}},
      {"yarn",
       300,
       1.20794415f,
       {1.0f, 0.247052938f, 0.0562500022f, 0.01087033f, 0.00124999997f, 0.000395284733f,
        0.000125000006f, 3.95284733e-05f}},
      {"yarn",
       3000,
       1.20794415f,
       {1.0f, 0.247052938f, 0.0562500022f, 0.01087033f, 0.00124999997f, 0.000395284733f,
        0.000125000006f, 3.95284733e-05f}},
      {"yarn_untruncated",
       10,
       1.05650799f,
       {1.0f, 0.183637366f, 0.0156405233f, 0.00216170424f, 0.000559017004f, 0.000144561869f,
        3.73837211e-05f, 9.66743482e-06f}},
      {"yarn_untruncated",
       300,
       1.05650799f,
       {1.0f, 0.183637366f, 0.0156405233f, 0.00216170424f, 0.000559017004f, 0.000144561869f,
        3.73837211e-05f, 9.66743482e-06f}},
      {"yarn_untruncated",
       3000,
       1.05650799f,
       {1.0f, 0.183637366f, 0.0156405233f, 0.00216170424f, 0.000559017004f, 0.000144561869f,
        3.73837211e-05f, 9.66743482e-06f}},
      {"longrope",
       10,
       1.11803399f,
       {1.0f, 0.287479758f, 0.0833333358f, 0.0243252143f, 0.00714285718f, 0.00210818532f,
        0.000624999986f, 0.000186016332f}},
      {"longrope",
       300,
       1.11803399f,
       {0.5f, 0.126491114f, 0.0333333351f, 0.00903507881f, 0.00249999994f, 0.000702728401f,
        0.000199999995f, 5.74959558e-05f}},
      {"longrope",
       3000,
       1.11803399f,
       {0.5f, 0.126491114f, 0.0333333351f, 0.00903507881f, 0.00249999994f, 0.000702728401f,
        0.000199999995f, 5.74959558e-05f}},
      {"llama3",
       10,
       1.0f,
       {1.0f, 0.193922758f, 0.0105382307f, 0.000911583134f, 0.000176776681f, 3.42810235e-05f,
        6.64786967e-06f, 1.28917316e-06f}},
      {"llama3",
       300,
       1.0f,
       {1.0f, 0.193922758f, 0.0105382307f, 0.000911583134f, 0.000176776681f, 3.42810235e-05f,
        6.64786967e-06f, 1.28917316e-06f}},
      {"llama3",
       3000,
       1.0f,
       {1.0f, 0.193922758f, 0.0105382307f, 0.000911583134f, 0.000176776681f, 3.42810235e-05f,
        6.64786967e-06f, 1.28917316e-06f}},
  };
  return kReferences;
}

TEST(RopeTable, FrequenciesAreTheReferences) {
  for (const Reference& reference : References()) {
    RopeTable table(Ropes().at(reference.name));
    EXPECT_FLOAT_EQ(table.attention_factor(), reference.attention_factor) << reference.name;
    const std::span<const float> got = table.Frequencies(reference.length);
    ASSERT_EQ(got.size(), reference.frequencies.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_NEAR(got[i] / reference.frequencies[i], 1, 1e-6)
          << reference.name << " length " << reference.length << " frequency " << i;
    }
  }
}

TEST(RopeTable, DivisorsDivideEveryFrequency) {
  for (const char* name : {"default", "linear", "dynamic", "longrope"}) {
    Rope rope = Ropes().at(name);
    rope.divisors = Ramp(1, 1);
    RopeTable plain(Ropes().at(name)), divided(rope);
    for (int64_t length : {10, 3000}) {
      for (size_t i = 0; i < 8; ++i) {
        EXPECT_FLOAT_EQ(divided.Frequencies(length)[i],
                        plain.Frequencies(length)[i] / static_cast<float>(i + 1))
            << name;
      }
    }
  }
}

// Cosines of one token of a plan of one row.
std::vector<float> Cosines(RopeTable& table, int32_t position, uint32_t prompt,
                           int32_t before = 0) {
  StepPlan plan;
  plan.rows.push_back({.first_position = position - before,
                       .token_count = before + 1,
                       .first_token = 0,
                       .prompt_tokens = prompt});
  std::vector<float> cos(8 * (before + 1)), sin(cos.size());
  table.Fill(plan, View::Contiguous(cos.data(), DType::kF32, {before + 1, 8}),
             View::Contiguous(sin.data(), DType::kF32, {before + 1, 8}));
  for (size_t i = 0; i < cos.size(); ++i) {
    EXPECT_NEAR(std::hypot(cos[i], sin[i]), table.attention_factor(), 1e-6);
  }
  return {cos.end() - 8, cos.end()};
}

// The length that counts is max(prompt, position + 1), whatever stands in the same row or came
// before.
TEST(RopeTable, LengthIsThePromptsOrTheTokensOwn) {
  for (const char* name : {"dynamic", "longrope"}) {
    RopeTable table(Ropes().at(name));
    const auto expected = [&](int32_t position, int64_t length) {
      RopeTable fresh(Ropes().at(name));
      std::vector<float> cos;
      for (float frequency : fresh.Frequencies(length)) {
        cos.push_back(std::cos(static_cast<float>(position) * frequency) *
                      fresh.attention_factor());
      }
      return cos;
    };
    EXPECT_EQ(Cosines(table, 5, 3000), expected(5, 3000)) << "a prompt token sees the whole prompt";
    EXPECT_EQ(Cosines(table, 5, 3000, 3), expected(5, 3000)) << "in any chunk";
    EXPECT_EQ(Cosines(table, 5, 20), expected(5, 20)) << "after a longer sequence";
    EXPECT_EQ(Cosines(table, 2000, 20), expected(2000, 2001)) << "an emitted token sees itself";
    EXPECT_EQ(Cosines(table, 2001, 20, 4), expected(2001, 2002));
  }
}

}  // namespace
}  // namespace shardline
