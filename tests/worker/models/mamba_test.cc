// Mamba's and FalconMamba's configurations to their specs: the defaults of the reference classes,
// published configurations, and what is refused.
#include <gtest/gtest.h>

#include "tests/worker/models/golden.h"
#include "worker/models/describe.h"
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
const Mamba& MixerOf(const ModelSpec& spec) { return std::get<Mamba>(spec.blocks.at(0).mixer); }

TEST(Mamba, DefaultsAreThoseOfTheReferenceClasses) {
  for (const Family* family : {&MambaFamily(), &FalconMambaFamily()}) {
    const Read read = ReadHf(*family, "{}");
    EXPECT_EQ(read.error, "");
    EXPECT_EQ(read.spec.vocabulary, 50280);
    EXPECT_EQ(read.spec.hidden, 768);
    EXPECT_EQ(read.spec.context, 0);
    EXPECT_EQ(read.spec.blocks.size(), 32u);
    EXPECT_TRUE(read.spec.tied_head);
    EXPECT_TRUE(read.spec.wide_stream);
    EXPECT_TRUE(std::holds_alternative<std::monostate>(read.spec.blocks[31].ffn));
    const Mamba& mixer = MixerOf(read.spec);
    EXPECT_EQ(mixer.inner, 1536);
    EXPECT_EQ(mixer.state, 16);
    EXPECT_EQ(mixer.taps, 4);
    EXPECT_EQ(mixer.dt_rank, 48);
    EXPECT_TRUE(mixer.conv_bias && !mixer.bias);
    EXPECT_EQ(mixer.part_norm.has_value(), family == &FalconMambaFamily());
  }
}

// The keys of mamba-2.8b-hf and of falcon-mamba-7b, those of the first generation among them.
TEST(Mamba, ReadsPublishedConfigurations) {
  const Read mamba = ReadHf(MambaFamily(), R"({"architectures": ["MambaForCausalLM"],
      "bos_token_id": 0, "conv_kernel": 4, "d_inner": 5120, "d_model": 2560, "eos_token_id": 0,
      "expand": 2, "fused_add_norm": true, "hidden_act": "silu", "hidden_size": 2560,
      "initializer_range": 0.1, "intermediate_size": 5120, "layer_norm_epsilon": 1e-05,
      "model_type": "mamba", "n_layer": 64, "num_hidden_layers": 64, "pad_vocab_size_multiple": 8,
      "residual_in_fp32": true, "rms_norm": true, "ssm_cfg": {}, "state_size": 16,
      "time_step_init_scheme": "random", "time_step_rank": 160, "use_bias": false,
      "use_cache": true, "use_conv_bias": true, "vocab_size": 50280})");
  EXPECT_EQ(mamba.error, "");
  EXPECT_EQ(mamba.spec.blocks.size(), 64u);
  EXPECT_EQ(MixerOf(mamba.spec).inner, 5120);
  EXPECT_EQ(MixerOf(mamba.spec).dt_rank, 160);
  const Read falcon = ReadHf(FalconMambaFamily(), R"({"architectures": ["FalconMambaForCausalLM"],
      "conv_kernel": 4, "expand": 16, "hidden_act": "silu", "hidden_size": 4096,
      "intermediate_size": 8192, "layer_norm_epsilon": 1e-05, "mixer_rms_eps": 1e-06,
      "model_type": "falcon_mamba", "num_hidden_layers": 64, "residual_in_fp32": true,
      "state_size": 16, "tie_word_embeddings": false, "time_step_rank": 256, "use_bias": false,
      "use_conv_bias": true, "vocab_size": 65024})");
  EXPECT_EQ(falcon.error, "");
  EXPECT_EQ(MixerOf(falcon.spec).inner, 8192);  // and not expand * hidden_size
  EXPECT_EQ(MixerOf(falcon.spec).part_norm, 1e-6f);
  EXPECT_FALSE(falcon.spec.tied_head);
  const Read automatic = ReadHf(MambaFamily(), R"({"hidden_size": 40, "expand": 3,
      "time_step_rank": "auto"})");
  EXPECT_EQ(automatic.error, "");
  EXPECT_EQ(MixerOf(automatic.spec).inner, 120);
  EXPECT_EQ(MixerOf(automatic.spec).dt_rank, 3);
}

TEST(Mamba, RefusesWhatNoLayerComputes) {
  const auto error = [](const char* json) { return ReadHf(FalconMambaFamily(), json).error; };
  EXPECT_NE(error(R"({"hidden_act": "gelu"})").find("hidden_act"), std::string::npos);
  EXPECT_NE(error(R"({"conv_kernel": 1})").find("conv_kernel"), std::string::npos);
  EXPECT_NE(error(R"({"conv_kernel": 17})").find("conv_kernel"), std::string::npos);
  EXPECT_NE(error(R"({"state_size": 257})").find("state_size"), std::string::npos);
  EXPECT_NE(error(R"({"time_step_rank": "wide"})").find("time_step_rank"), std::string::npos);
  EXPECT_NE(error(R"({"mixer_rms_eps": -1})").find("mixer_rms_eps"), std::string::npos);
}

TEST(Mamba, IsDescribed) {
  const auto text =
      DescribeModel({.path = GoldenCheckpoint("falcon_mamba"), .dtype = "bf16", .ops = &CpuOps()});
  ASSERT_TRUE(text.ok()) << text.status();
  for (const char* part :
       {"x += mamba(norm1(x))\n", "inner 104, state 16, convolution over 4, dt rank 3",
        "norms of dt, B and C", "backbone.layers.*.mixer.in_proj.weight rows 104-207",
        "backbone.layers.*.mixer.A_log", "of 3 layers, 21840 bytes per sequence"}) {
    EXPECT_NE(text->find(part), std::string::npos) << part << "\n" << *text;
  }
}

}  // namespace
}  // namespace shardline
