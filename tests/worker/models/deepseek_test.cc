// The configurations of DeepSeek's second and third generations to their specs, from either format,
// and what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/worker/models/golden.h"
#include "worker/models/registry.h"

namespace shardline {
namespace {

struct Read {
  ModelSpec spec;
  std::string error;
};
Read ReadHf(const Family& family, const std::string& json) {
  auto config = HfConfig::Parse(json, "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  Read read{.spec = family.from_hf(**config)};
  read.error = Message((*config)->status());
  if (read.error.empty()) read.error = Message(ValidateSpec(read.spec, "config.json"));
  return read;
}
std::string V2Error(const std::string& keys) {
  return ReadHf(DeepseekV2Family(), R"({"num_experts_per_tok": 6, )" + keys + "}").error;
}
std::string V3Error(const std::string& keys) {
  return ReadHf(DeepseekV3Family(), "{" + keys + "}").error;
}
const LatentAttention& LatentOf(const ModelSpec& spec) {
  return std::get<LatentAttention>(spec.blocks.at(0).mixer);
}
const Moe& MoeOf(const ModelSpec& spec) { return std::get<Moe>(spec.blocks.back().ffn); }

TEST(DeepseekV2, DefaultsAreThoseOfTheReferenceClass) {
  const Read read = ReadHf(DeepseekV2Family(), R"({"num_experts_per_tok": 6})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.vocabulary, 102400);
  EXPECT_EQ(read.spec.blocks.size(), 32u);
  const LatentAttention& attention = LatentOf(read.spec);
  EXPECT_EQ(attention.heads, 32);
  EXPECT_EQ(attention.q_rank, 1536);
  EXPECT_EQ(attention.kv_rank, 512);
  EXPECT_EQ(attention.nope_dim, 128);
  EXPECT_EQ(attention.value_dim, 128);
  EXPECT_EQ(attention.scale, 0);
  EXPECT_EQ(attention.rope, (Rope{.rot_dim = 64, .style = RopeStyle::kInterleaved}));
  EXPECT_TRUE(std::holds_alternative<Moe>(read.spec.blocks[0].ffn));
  const Moe& moe = MoeOf(read.spec);
  EXPECT_EQ(moe.experts, 64);
  EXPECT_EQ(moe.inner, 1407);
  EXPECT_EQ(moe.shared->inner, 2 * 1407);
  EXPECT_EQ(moe.router.routing, Routing{});
  EXPECT_TRUE(moe.router.in_f32 && moe.router.weights_f32);
  EXPECT_EQ(ReadHf(DeepseekV2Family(), "{}").error,
            "config.json: missing keys: num_experts_per_tok");
}

// What V2's published configuration adds to the defaults.
TEST(DeepseekV2, GroupsAndYarnOfThePublishedModel) {
  const Read read = ReadHf(DeepseekV2Family(), R"({"num_experts_per_tok": 6, "n_group": 8,
      "topk_group": 3, "topk_method": "group_limited_greedy", "routed_scaling_factor": 16.0,
      "n_routed_experts": 160, "first_k_dense_replace": 1, "moe_layer_freq": 1,
      "scoring_func": "softmax", "norm_topk_prob": false, "num_attention_heads": 128,
      "num_key_value_heads": 128, "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40,
      "mscale": 0.707, "mscale_all_dim": 0.707, "original_max_position_embeddings": 4096,
      "type": "yarn"}})");
  EXPECT_EQ(read.error, "");
  const Routing& routing = MoeOf(read.spec).router.routing;
  EXPECT_EQ(routing, (Routing{.scale = 16, .groups = 8, .active_groups = 3}));
  EXPECT_TRUE(std::holds_alternative<Mlp>(read.spec.blocks[0].ffn));
  const double magnitude = 1 + 0.0707 * std::log(40.0);
  EXPECT_NEAR(LatentOf(read.spec).scale, magnitude * magnitude / std::sqrt(192.0), 1e-12);
  EXPECT_EQ(std::get<YarnScaling>(LatentOf(read.spec).rope.scaling).attention_factor, 1);
}

TEST(DeepseekV3, DefaultsAreThoseOfTheReferenceClass) {
  const Read read = ReadHf(DeepseekV3Family(), "{}");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.blocks.size(), 61u);
  EXPECT_EQ(LatentOf(read.spec).heads, 128);
  EXPECT_EQ(LatentOf(read.spec).rope.style, RopeStyle::kInterleaved);
  EXPECT_TRUE(std::holds_alternative<Mlp>(read.spec.blocks[2].ffn));
  EXPECT_TRUE(std::holds_alternative<Moe>(read.spec.blocks[3].ffn));
  const Moe& moe = MoeOf(read.spec);
  EXPECT_EQ(moe.experts, 256);
  EXPECT_EQ(moe.active, 8);
  EXPECT_EQ(moe.shared->inner, 2048);
  EXPECT_TRUE(moe.router.choice_bias);
  EXPECT_EQ(moe.router.routing, (Routing{.scoring = Scoring::kSigmoid,
                                         .renormalise = true,
                                         .epsilon = 1e-20f,
                                         .scale = 2.5f,
                                         .groups = 8,
                                         .active_groups = 4,
                                         .group_score = GroupScore::kSumOfTwoLargest}));
}

TEST(DeepseekV3, NullIsNotTheDefault) {
  const Read read = ReadHf(DeepseekV3Family(), R"({"q_lora_rank": null, "rope_interleave": false,
      "n_shared_experts": null, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 0})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(LatentOf(read.spec).q_rank, 0);
  EXPECT_EQ(LatentOf(read.spec).rope.style, RopeStyle::kHalf);
  EXPECT_FALSE(MoeOf(read.spec).shared.has_value());
  EXPECT_TRUE(std::holds_alternative<Moe>(read.spec.blocks[0].ffn));
}

TEST(Deepseek, RefusesWhatWouldBeAnotherModel) {
  EXPECT_EQ(V2Error(R"("mlp_bias": true)"), "config.json: mlp_bias is not served");
  EXPECT_EQ(V2Error(R"("scoring_func": "sigmoid")"), "config.json: scoring_func is not softmax");
  EXPECT_EQ(V2Error(R"("topk_method": "noaux_tc")"),
            "config.json: topk_method 'noaux_tc' is not greedy or group_limited_greedy");
  EXPECT_EQ(V2Error(R"("topk_method": "group_limited_greedy")"),
            "config.json: missing keys: n_group, topk_group");
  EXPECT_EQ(V2Error(R"("norm_topk_prob": true)"),
            "config.json: norm_topk_prob is not served: implementations differ in what it means "
            "here");
  EXPECT_EQ(V2Error(R"("num_key_value_heads": 8)"),
            "config.json: num_key_value_heads 8 is not num_attention_heads 32");
  EXPECT_EQ(V2Error(R"("num_attention_heads": 1024)"),
            "config.json: 1024 heads over a latent exceed 512");
  EXPECT_EQ(V2Error(R"("qk_rope_head_dim": 7)"),
            "config.json: rotary dimensions 7 of head_dim 7 are not an even number of at most that "
            "size");
  EXPECT_EQ(V3Error(R"("scoring_func": "softmax")"), "config.json: scoring_func is not sigmoid");
  EXPECT_EQ(V3Error(R"("topk_method": "greedy")"), "config.json: topk_method is not noaux_tc");
  EXPECT_EQ(
      V3Error(R"("n_group": 7)"),
      "config.json: n_group (expert_group_count) 7 does not divide 256 experts or exceeds 64");
}

TEST(DeepseekV3, LayersThatPredictFurtherTokensAreNotRead) {
  auto checkpoint = Checkpoint::Open(GoldenCheckpoint("deepseek_v3"));  // of two layers
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const NameTable names = DeepseekV3Family().hf_names(**checkpoint);
  EXPECT_TRUE(IsIgnored(names, "model.layers.2.eh_proj.weight"));
  EXPECT_TRUE(IsIgnored(names, "model.layers.2.mlp.experts.0.up_proj.weight"));
  EXPECT_FALSE(IsIgnored(names, "model.layers.1.eh_proj.weight"));
  EXPECT_FALSE(IsIgnored(names, "model.layers.3.eh_proj.weight"));
  EXPECT_FALSE(IsIgnored(names, "model.layers.20.eh_proj.weight"));
}

ModelSpec SpecOf(const std::string& golden, const Family& family) {
  auto checkpoint = Checkpoint::Open(GoldenCheckpoint(golden));
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  Config& config =
      (*checkpoint)->hf() ? static_cast<Config&>(*(*checkpoint)->hf()) : *(*checkpoint)->gguf();
  ModelSpec spec = (*checkpoint)->hf() ? family.from_hf(*(*checkpoint)->hf())
                                       : family.from_gguf(*(*checkpoint)->gguf(), **checkpoint);
  EXPECT_TRUE(config.status().ok()) << config.status();
  return spec;
}

// Of heads' sizes in files of both ages, routers of both kinds.
TEST(Deepseek, GgufTellsTheSame) {
  for (const auto& [name, family] : {std::pair{"deepseek_v2", &DeepseekV2Family()},
                                     {"deepseek_v2_lite", &DeepseekV2Family()},
                                     {"deepseek_v3", &DeepseekV3Family()}}) {
    SCOPED_TRACE(name);
    const ModelSpec hf = SpecOf(name, *family);
    const ModelSpec gguf = SpecOf(Cat("gguf_of_", name), DeepseekV2Family());
    const LatentAttention &a = LatentOf(hf), &b = LatentOf(gguf);
    EXPECT_EQ(a.heads, b.heads);
    EXPECT_EQ(a.q_rank, b.q_rank);
    EXPECT_EQ(a.kv_rank, b.kv_rank);
    EXPECT_EQ(a.nope_dim, b.nope_dim);
    EXPECT_EQ(a.value_dim, b.value_dim);
    EXPECT_EQ(a.rope, b.rope);
    EXPECT_NEAR(a.scale, b.scale, 1e-7);
    Routing expected = MoeOf(hf).router.routing;
    expected.epsilon = 1e-20f;  // without a meaning where nothing is divided
    EXPECT_EQ(MoeOf(gguf).router.routing, expected);
    EXPECT_EQ(MoeOf(gguf).router.choice_bias, MoeOf(hf).router.choice_bias);
    EXPECT_EQ(MoeOf(gguf).shared->inner, MoeOf(hf).shared->inner);
    EXPECT_TRUE(std::holds_alternative<Mlp>(gguf.blocks[0].ffn));
  }
}

}  // namespace
}  // namespace shardline
