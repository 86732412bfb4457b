// The LayerNorm families' configurations to their specs: the defaults of the reference classes,
// what each flag changes, and what is refused.
#include <gtest/gtest.h>

#include <string>

#include "tests/worker/models/golden.h"
#include "worker/models/alibi.h"
#include "worker/models/registry.h"

namespace shardline {
namespace {

struct Read {
  ModelSpec spec;
  std::string error;

  const Attention& attention() const { return std::get<Attention>(spec.blocks.back().mixer); }
  const Mlp& mlp() const { return std::get<Mlp>(spec.blocks.back().ffn); }
};
Read ReadHf(const Family& family, const std::string& json) {
  auto config = HfConfig::Parse(json, "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  Read read{.spec = family.from_hf(**config)};
  read.error = Message((*config)->status());
  if (read.error.empty()) read.error = Message(ValidateSpec(read.spec, "config.json"));
  return read;
}

TEST(LayerNormFamilies, DefaultsAreThoseOfTheReferenceClasses) {
  struct Expected {
    const Family* family;
    int64_t vocabulary, hidden, inner, layers, heads, kv_heads, context, rotated;
    bool tied;
  };
  for (const Expected& e : {
           Expected{&Starcoder2Family(), 49152, 3072, 12288, 30, 24, 2, 4096, 128, true},
           Expected{&PhiFamily(), 51200, 2048, 8192, 24, 32, 32, 2048, 32, false},
           Expected{&FalconFamily(), 65024, 4544, 18176, 32, 71, 1, 2048, 64, true},
           Expected{&StablelmFamily(), 50304, 2560, 6912, 32, 32, 32, 4096, 20, false},
           Expected{&OlmoFamily(), 50304, 4096, 11008, 32, 32, 32, 2048, 128, false},
           Expected{&MptFamily(), 50368, 2048, 8192, 24, 16, 16, 2048, 0, true},
           Expected{&PersimmonFamily(), 262144, 4096, 16384, 36, 64, 64, 16384, 32, false},
           Expected{&BigcodeFamily(), 50257, 768, 3072, 12, 12, 1, 1024, 0, true},
       }) {
    SCOPED_TRACE(e.family->name);
    const Read read = ReadHf(*e.family, "{}");
    EXPECT_EQ(read.error, "");
    EXPECT_EQ(read.spec.vocabulary, e.vocabulary);
    EXPECT_EQ(read.spec.hidden, e.hidden);
    EXPECT_EQ(read.mlp().inner, e.inner);
    EXPECT_EQ(static_cast<int64_t>(read.spec.blocks.size()), e.layers);
    EXPECT_EQ(read.attention().heads, e.heads);
    EXPECT_EQ(read.attention().kv_heads, e.kv_heads);
    EXPECT_EQ(read.spec.context, e.context);
    EXPECT_EQ(read.attention().rope.rot_dim, e.rotated);
    EXPECT_EQ(read.spec.tied_head, e.tied);
    EXPECT_EQ(read.attention().window, 0);
    EXPECT_TRUE(read.spec.final_norm.centred);
    EXPECT_EQ(read.spec.final_norm.norm.eps, 1e-5f);
  }
}

TEST(Falcon, FlagsChooseTheBlock) {
  const auto residual = [](const std::string& json) {
    const Read read = ReadHf(FalconFamily(), json);
    EXPECT_EQ(read.error, "");
    return read.spec.blocks[0].residual;
  };
  EXPECT_EQ(residual("{}"), Residual::kParallel);
  EXPECT_EQ(residual(R"({"parallel_attn": false})"), Residual::kSequential);
  EXPECT_EQ(residual(R"({"new_decoder_architecture": true, "num_attention_heads": 8,
                         "num_kv_heads": 2})"),
            Residual::kParallelTwoNorms);
  EXPECT_EQ(residual(R"({"new_decoder_architecture": true, "num_attention_heads": 8,
                         "num_kv_heads": 2, "num_ln_in_parallel_attn": 1})"),
            Residual::kParallel);
  EXPECT_EQ(ReadHf(FalconFamily(), R"({"multi_query": false})").attention().kv_heads, 71);
}

TEST(StableLm, FlagsChooseTheBlock) {
  const Read plain = ReadHf(StablelmFamily(), R"({"use_qkv_bias": true})");
  EXPECT_TRUE(plain.attention().qkv_bias);
  EXPECT_FALSE(plain.attention().out_bias || plain.attention().head_norm);
  const Read large =
      ReadHf(StablelmFamily(), R"({"qk_layernorm": true, "use_parallel_residual": true})");
  EXPECT_EQ(large.spec.blocks[0].residual, Residual::kParallel);
  EXPECT_TRUE(large.attention().norm_per_head);
  EXPECT_FALSE(large.attention().head_norm->has_bias);
}

TEST(LayerNormFamilies, ActivationsAreTheConfigurations) {
  const auto activation = [](const Family& family, const std::string& json) {
    const Read read = ReadHf(family, json);
    EXPECT_EQ(read.error, "");
    return read.mlp().activation;
  };
  EXPECT_EQ(activation(BigcodeFamily(), "{}"), Activation::kGeluTanh);
  EXPECT_EQ(activation(BigcodeFamily(), R"({"activation_function": "gelu"})"), Activation::kGelu);
  EXPECT_EQ(activation(PhiFamily(), R"({"hidden_act": "gelu_new"})"), Activation::kGeluTanh);
  EXPECT_EQ(activation(FalconFamily(), "{}"), Activation::kGelu);
  EXPECT_EQ(activation(PersimmonFamily(), "{}"), Activation::kRelu2);
  EXPECT_EQ(activation(OlmoFamily(), R"({"hidden_act": "swish"})"), Activation::kSilu);
}

TEST(Mpt, HeadsByTheTypeOfAttention) {
  const auto kv_heads = [](const std::string& attention) {
    const Read read = ReadHf(MptFamily(), R"({"attn_config": )" + attention + "}");
    EXPECT_EQ(read.error, "");
    return read.attention().kv_heads;
  };
  EXPECT_EQ(kv_heads("{}"), 16);
  EXPECT_EQ(kv_heads(R"({"attn_type": "multiquery_attention"})"), 1);
  EXPECT_EQ(kv_heads(R"({"attn_type": "grouped_query_attention", "kv_n_heads": 4})"), 4);
}

TEST(StableLm, KeysOfOlderFiles) {
  const Read read = ReadHf(StablelmFamily(), R"({"rope_pct": 0.5, "norm_eps": 1e-6})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.attention().rope.rot_dim, 40);
  EXPECT_EQ(read.spec.final_norm.norm.eps, 1e-6f);
}

TEST(LayerNormFamilies, RefuseWhatWouldChangeTheArithmetic) {
  struct Refused {
    const Family* family;
    const char *key, *json;
  };
  for (const Refused& r : {
           Refused{&Starcoder2Family(), "hidden_act", R"({"hidden_act": "relu"})"},
           Refused{&Starcoder2Family(), "sliding_window", R"({"sliding_window": -3})"},
           Refused{&PhiFamily(), "hidden_act", R"({"hidden_act": "mish"})"},
           Refused{&Starcoder2Family(), "mlp_type", R"({"mlp_type": "gated"})"},
           Refused{&Starcoder2Family(), "norm_type", R"({"norm_type": "rms_norm"})"},
           Refused{&FalconFamily(), "apply_residual_connection_post_layernorm",
                   R"({"apply_residual_connection_post_layernorm": true})"},
           Refused{&PhiFamily(), "partial_rotary_factor", R"({"partial_rotary_factor": 1.5})"},
           Refused{&PhiFamily(), "key-value heads", R"({"num_key_value_heads": 5})"},
           Refused{&FalconFamily(), "activation", R"({"activation": "relu"})"},
           Refused{&FalconFamily(), "num_ln_in_parallel_attn", R"({"num_ln_in_parallel_attn": 2})"},
           Refused{&FalconFamily(), "parallel_attn",
                   R"({"new_decoder_architecture": true, "parallel_attn": false})"},
           Refused{&StablelmFamily(), "hidden_act", R"({"hidden_act": "mish"})"},
           Refused{&OlmoFamily(), "clip_qkv", R"({"clip_qkv": -1})"},
           Refused{&MptFamily(), "attn_config.attn_type",
                   R"({"attn_config": {"attn_type": "other_attention"}})"},
           Refused{&PersimmonFamily(), "hidden_act", R"({"hidden_act": "relu"})"},
           Refused{&BigcodeFamily(), "add_cross_attention", R"({"add_cross_attention": true})"},
           Refused{&BigcodeFamily(), "activation_function", R"({"activation_function": "tanh"})"},
           Refused{&BigcodeFamily(), "n_head 5 does not divide n_embd 768", R"({"n_head": 5})"},
           Refused{&MptFamily(), "n_heads 64 does not divide d_model 8",
                   R"({"n_heads": 64, "d_model": 8})"},
           Refused{&FalconFamily(), "num_kv_heads",
                   R"({"new_decoder_architecture": true, "num_kv_heads": 0})"},
       }) {
    const std::string error = ReadHf(*r.family, r.json).error;
    EXPECT_NE(error.find(r.key), std::string::npos) << r.json << ": " << error;
  }
}

TEST(Alibi, SlopesOfPowersOfTwoAreTheSameByBothRules) {
  for (int64_t heads : {1, 2, 8, 64}) {
    const std::vector<float> one = PressSlopes(heads), other = MptSlopes(heads, 8);
    ASSERT_EQ(one.size(), other.size());
    for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i], other[i], 2e-6 * one[i]) << heads;
  }
  EXPECT_EQ(PressSlopes(8),
            (std::vector<float>{0x1p-1, 0x1p-2, 0x1p-3, 0x1p-4, 0x1p-5, 0x1p-6, 0x1p-7, 0x1p-8}));
}

TEST(Alibi, OtherNumbersTakeSlopesOfTheNextPower) {
  EXPECT_EQ(PressSlopes(6), (std::vector<float>{0x1p-2, 0x1p-4, 0x1p-6, 0x1p-8, 0x1p-1, 0x1p-3}));
  EXPECT_EQ(MptSlopes(6, 8), (std::vector<float>{0x1p-2, 0x1p-4, 0x1p-6, 0x1p-8, 0x1p-1, 0x1p-3}));
  EXPECT_EQ(MptSlopes(3, 4), (std::vector<float>{0x1p-2, 0x1p-4, 0x1p-1}));
}

}  // namespace
}  // namespace shardline
