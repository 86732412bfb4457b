// Llama's configuration, of both formats and generations, to its spec.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "tests/worker/models/golden.h"
#include "worker/models/registry.h"

namespace shardline {
namespace {

constexpr char kSizes[] = R"("hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 112,
    "num_hidden_layers": 3, "vocab_size": 128)";

struct Read {
  ModelSpec spec;
  std::string error;
};
Read ReadHf(const std::string& more) {
  auto config =
      HfConfig::Parse(Cat("{", kSizes, more.empty() ? "" : ", ", more, "}"), "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  Read read{.spec = LlamaFamily().from_hf(**config)};
  read.error = Message((*config)->status());
  if (read.error.empty()) read.error = Message(ValidateSpec(read.spec, "config.json"));
  return read;
}
const Attention& AttentionOf(const ModelSpec& spec) {
  return std::get<Attention>(spec.blocks.at(0).mixer);
}
Rope RopeOf(const std::string& more) {
  const Read read = ReadHf(more);
  EXPECT_EQ(read.error, "");
  return AttentionOf(read.spec).rope;
}

TEST(Llama, DefaultsAreThoseOfTheReferenceClass) {
  const Read read = ReadHf("");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.blocks.size(), 3u);
  EXPECT_EQ(read.spec.context, 2048);
  EXPECT_FALSE(read.spec.tied_head);
  EXPECT_FLOAT_EQ(read.spec.final_norm.norm.eps, 1e-6f);
  const Attention& attention = AttentionOf(read.spec);
  EXPECT_EQ(attention.kv_heads, 4);
  EXPECT_EQ(attention.head_dim, 16);
  EXPECT_FALSE(attention.qkv_bias || attention.out_bias);
  EXPECT_EQ(attention.rope, (Rope{.theta = 10000, .rot_dim = 16}));
}

TEST(Llama, ReadsEveryKey) {
  const Read read = ReadHf(R"("num_key_value_heads": 2, "head_dim": 24, "attention_bias": true,
      "mlp_bias": true, "tie_word_embeddings": true, "rms_norm_eps": 1e-5, "rope_theta": 5e5,
      "max_position_embeddings": 77, "hidden_act": "silu", "pretraining_tp": 1)");
  EXPECT_EQ(read.error, "");
  const Attention& attention = AttentionOf(read.spec);
  EXPECT_EQ(attention.kv_heads, 2);
  EXPECT_EQ(attention.head_dim, 24);
  EXPECT_TRUE(attention.qkv_bias && attention.out_bias);
  EXPECT_TRUE(std::get<Mlp>(read.spec.blocks[0].ffn).bias);
  EXPECT_TRUE(read.spec.tied_head);
  EXPECT_EQ(read.spec.context, 77);
  EXPECT_EQ(attention.rope.theta, 5e5);
}

TEST(Llama, BothGenerationsOfRopeGiveTheSame) {
  const Rope old_style = RopeOf(
      R"("rope_theta": 5e5, "rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 1,
         "high_freq_factor": 4, "original_max_position_embeddings": 16})");
  const Rope new_style = RopeOf(
      R"("rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0,
         "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16})");
  EXPECT_EQ(old_style, new_style);
  EXPECT_EQ(old_style.scaling.index(), Rope{.scaling = Llama3Scaling{}}.scaling.index());
  EXPECT_EQ(RopeOf(R"("rope_scaling": {"type": "linear", "factor": 2})").scaling,
            (Rope{.scaling = LinearScaling{2}}.scaling));
  EXPECT_EQ(RopeOf(R"("rope_scaling": null)"), RopeOf(""));
  EXPECT_EQ(RopeOf(R"("rope_parameters": {"rope_type": "default", "rope_theta": 7})").theta, 7);
}

TEST(Llama, OriginalContextOfTheTopLevelWinsAndTheModelsStandsIn) {
  const auto original = [](const std::string& more) {
    return std::get<YarnScaling>(RopeOf(more).scaling).original_positions;
  };
  EXPECT_EQ(
      original(R"("max_position_embeddings": 64, "rope_scaling": {"type": "yarn", "factor": 2})"),
      64);
  EXPECT_EQ(original(R"("original_max_position_embeddings": 8, "rope_scaling": {"type": "yarn",
                        "factor": 2, "original_max_position_embeddings": 32})"),
            8);
}

TEST(Llama, AttnFactorMultipliesYarnsMagnitude) {
  const auto magnitude = [](const std::string& more) {
    const Rope rope = RopeOf(R"("rope_scaling": {"type": "yarn", "factor": 4)" + more + "}");
    return std::get<YarnScaling>(rope.scaling).attention_factor;
  };
  EXPECT_NEAR(magnitude(""), 1.1386294, 1e-6);
  EXPECT_NEAR(magnitude(R"(, "attn_factor": 0.8782488562869419)"), 1, 1e-6);
  EXPECT_EQ(magnitude(R"(, "attn_factor": 0.5, "attention_factor": 1.5)"), 1.5);
}

TEST(Llama, TellsAllMissingKeysAtOnce) {
  auto config = *HfConfig::Parse(R"({"rope_scaling": {"type": "llama3"}})", "config.json");
  LlamaFamily().from_hf(*config);
  EXPECT_EQ(Message(config->status()),
            "config.json: missing keys: hidden_size, num_attention_heads, intermediate_size, "
            "num_hidden_layers, vocab_size, rope_scaling.factor, rope_scaling.low_freq_factor, "
            "rope_scaling.high_freq_factor");
}

TEST(Llama, RefusesWhatWouldChangeTheArithmetic) {
  const auto error = [](const std::string& more) { return ReadHf(more).error; };
  EXPECT_EQ(error(R"("hidden_act": "gelu")"), "config.json: hidden_act 'gelu' is not silu");
  EXPECT_EQ(error(R"("rope_scaling": {"type": "spiral"})"),
            "config.json: rope_scaling.rope_type 'spiral' is not one of default, linear, dynamic, "
            "yarn, longrope and llama3");
  EXPECT_EQ(error(R"("rope_parameters": {"rope_type": "default", "mrope_section": [1]})"),
            "config.json: rope_parameters.mrope_section is not understood");
  const std::string yarn = R"("rope_scaling": {"rope_type": "yarn", "factor": 4.0, )";
  EXPECT_EQ(error(yarn + R"("extrapolation_factor": 1})"), "");
  EXPECT_EQ(error(yarn + R"("extrapolation_factor": 0.5})"),
            "config.json: rope_scaling.extrapolation_factor is not understood");
  EXPECT_EQ(error(R"("rope_scaling": {"type": "linear", "factor": 2, "attn_factor": 1})"), "");
  EXPECT_EQ(error(R"("rope_scaling": {"type": "linear", "factor": 2, "attn_factor": 1.2})"),
            "config.json: rope_scaling.attn_factor is not understood");
  EXPECT_EQ(error(R"("num_key_value_heads": 3)"),
            "config.json: 4 attention heads are not a multiple of 3 key-value heads");
  EXPECT_EQ(
      error(R"("head_dim": 15)"),
      "config.json: rotary dimensions 15 of head_dim 15 are not an even number of at most that "
      "size");
  EXPECT_EQ(
      error(R"("rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [2]})"),
      "config.json: short_factor and long_factor have 1 and 1 entries, not 8");
  EXPECT_NE(error(R"("rope_theta": -1)"), "");
  EXPECT_NE(error(R"("rope_theta": "big")"), "");
  EXPECT_NE(error(R"("num_hidden_layers": 1000000000)"), "");
  EXPECT_NE(
      error(R"("partial_rotary_factor": 0.5, "rope_scaling": {"type": "linear", "factor": 2})"),
      "");
}

TEST(Llama, GgufMetadataGivesTheSameSpec) {
  const auto checkpoint = Checkpoint::Open(GoldenCheckpoint("gguf_biases_yarn"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const ModelSpec spec = LlamaFamily().from_gguf(*(*checkpoint)->gguf(), **checkpoint);
  EXPECT_TRUE((*checkpoint)->gguf()->status().ok()) << (*checkpoint)->gguf()->status();
  const Read hf = ReadHf(R"("num_key_value_heads": 2, "attention_bias": true, "mlp_bias": true,
      "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
      "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 32})");
  EXPECT_EQ(AttentionOf(spec).rope, AttentionOf(hf.spec).rope);
  EXPECT_EQ(AttentionOf(spec).kv_heads, 2);
  EXPECT_TRUE(AttentionOf(spec).qkv_bias && AttentionOf(spec).out_bias);
  EXPECT_TRUE(std::get<Mlp>(spec.blocks[0].ffn).bias);
  EXPECT_EQ(spec.blocks[0].norm, hf.spec.blocks[0].norm);
  EXPECT_EQ(spec.context, 128);
  EXPECT_FALSE(spec.tied_head);
}

TEST(Llama, GgufWithoutContextLengthGetsTheContractsDefault) {
  std::ifstream file(GoldenCheckpoint("gguf_f32"), std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const size_t key = bytes.find("llama.context_length");
  ASSERT_NE(key, std::string::npos);
  bytes.replace(key, 20, "other.context_length");
  const std::string path = testing::TempDir() + "no_context_length.gguf";
  std::ofstream(path, std::ios::binary) << bytes;
  const auto checkpoint = Checkpoint::Open(path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const ModelSpec spec = LlamaFamily().from_gguf(*(*checkpoint)->gguf(), **checkpoint);
  EXPECT_TRUE((*checkpoint)->gguf()->status().ok()) << (*checkpoint)->gguf()->status();
  EXPECT_EQ(spec.context, 32768);
}

}  // namespace
}  // namespace shardline
