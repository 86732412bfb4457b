// Configurations of layouts that came before transformers' own, or beside them: what their keys
// make, and what is refused.
#include <gtest/gtest.h>

#include <string>

#include "tests/worker/models/golden.h"
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

TEST(Chatglm, ThirdsKeys) {
  const Read read = ReadHf(ChatglmFamily(), R"({
      "add_qkv_bias": true, "ffn_hidden_size": 13696, "kv_channels": 128, "num_layers": 28,
      "multi_query_attention": true, "multi_query_group_num": 2, "padded_vocab_size": 65024,
      "seq_length": 8192, "original_rope": true, "post_layer_norm": true, "quantization_bit": 0,
      "pre_seq_len": null, "rmsnorm": true})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.vocabulary, 65024);
  EXPECT_EQ(read.spec.context, 8192);
  EXPECT_EQ(read.spec.blocks.size(), 28u);
  EXPECT_FALSE(read.spec.tied_head);
  EXPECT_EQ(read.spec.final_norm.norm.eps, 1e-5f);
  EXPECT_EQ(read.mlp().inner, 13696);
  EXPECT_EQ(read.attention().heads, 32);
  EXPECT_EQ(read.attention().kv_heads, 2);
  EXPECT_EQ(read.attention().rope.rot_dim, 64);
  EXPECT_EQ(read.attention().rope.theta, 10000);
  EXPECT_TRUE(read.attention().qkv_bias);
  EXPECT_FALSE(read.attention().out_bias || read.mlp().bias);
}

TEST(Chatglm, Glm4sRatioMultipliesTheBase) {
  const Read read = ReadHf(ChatglmFamily(), R"({"rope_ratio": 500, "num_layers": 40})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.attention().rope.theta, 5e6);
  EXPECT_EQ(read.attention().kv_heads, 32);  // without multi_query_attention
}

struct Refused {
  const Family* family;
  const char *key, *json;
};
void ExpectRefused(std::initializer_list<Refused> cases) {
  for (const Refused& r : cases) {
    const std::string error = ReadHf(*r.family, r.json).error;
    EXPECT_NE(error.find(r.key), std::string::npos) << r.json << ": " << error;
  }
}

TEST(Chatglm, RefusesWhatIsNoChatglm2) {
  const Family* chatglm = &ChatglmFamily();
  ExpectRefused(
      {{chatglm, "position_encoding_2d is of the first", R"({"position_encoding_2d": true})"},
       {chatglm, "vision_config", R"({"vision_config": {"hidden_size": 8}})"},
       {chatglm, "pre_seq_len", R"({"pre_seq_len": 128})"},
       {chatglm, "quantization_bit", R"({"quantization_bit": 4})"},
       {chatglm, "add_bias_linear", R"({"add_bias_linear": true})"},
       {chatglm, "rmsnorm", R"({"rmsnorm": false})"},
       {chatglm, "post_layer_norm", R"({"post_layer_norm": false})"},
       {chatglm, "original_rope", R"({"original_rope": false})"},
       {chatglm, "apply_residual_connection_post_layernorm",
        R"({"apply_residual_connection_post_layernorm": true})"},
       {chatglm, "multi_query_group_num",
        R"({"multi_query_attention": true, "multi_query_group_num": 0})"}});
}

TEST(Mpt, TheTwoClassesTakeAbsentKeysForOtherThings) {
  const Read transformers = ReadHf(MptFamily(), R"({"architectures": ["MptForCausalLM"]})");
  EXPECT_FALSE(transformers.attention().alibi.slopes.empty());
  EXPECT_FALSE(transformers.attention().out_bias || transformers.spec.learned_positions > 0);
  const Read own = ReadHf(MptFamily(), R"({"architectures": ["MPTForCausalLM"]})");
  EXPECT_EQ(own.error, "");
  EXPECT_TRUE(own.attention().alibi.slopes.empty());
  EXPECT_EQ(own.spec.learned_positions, 2048);
  EXPECT_TRUE(own.attention().qkv_bias && own.attention().out_bias && own.mlp().bias);
  EXPECT_TRUE(own.spec.final_norm.has_bias);
}

TEST(Mpt, ScaledLogits) {
  EXPECT_EQ(ReadHf(MptFamily(), R"({"logit_scale": 0.5})").spec.logit_scale, 0.5);
  const Read read =
      ReadHf(MptFamily(), R"({"d_model": 1024, "n_heads": 8, "logit_scale": "inv_sqrt_d_model"})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.logit_scale, 1.0 / 32);
}

TEST(Mpt, ReplitsPublishedKeys) {
  const Read first = ReadHf(MptFamily(), R"({
      "architectures": ["ReplitLM"], "alibi": true, "alibi_bias_max": 8, "attn_clip_qkv": null,
      "attn_qk_ln": false, "d_model": 2560, "mlp_ratio": 4, "n_heads": 32, "n_layers": 32,
      "no_bias": true, "prefix_lm": false, "softmax_scale": null, "vocab_size": 32768})");
  EXPECT_EQ(first.error, "");
  EXPECT_EQ(first.attention().kv_heads, 32);
  EXPECT_EQ(first.attention().alibi.slopes.size(), 32u);
  EXPECT_EQ(first.attention().clip, 0);
  EXPECT_EQ(first.mlp().inner, 10240);
  EXPECT_FALSE(first.attention().qkv_bias || first.attention().row_norm);
  const Read second = ReadHf(MptFamily(), R"({
      "architectures": ["MPTForCausalLM"], "attn_config": {"alibi": true, "alibi_bias_max": 8,
      "attn_type": "grouped_query_attention", "kv_n_heads": 8, "clip_qkv": null, "qk_ln": false,
      "prefix_lm": false}, "d_model": 3072, "expansion_ratio": 4, "n_heads": 24, "n_layers": 32,
      "no_bias": true, "max_seq_len": 4096, "vocab_size": 32768})");
  EXPECT_EQ(second.error, "");
  EXPECT_EQ(second.attention().kv_heads, 8);
  EXPECT_EQ(second.attention().head_dim, 128);
}

TEST(Mpt, RefusesWhatIsNotServed) {
  const Family* mpt = &MptFamily();
  ExpectRefused({{mpt, "attn_config.prefix_lm", R"({"attn_config": {"prefix_lm": true}})"},
                 {mpt, "prefix_lm", R"({"prefix_lm": true})"},
                 {mpt, "attn_config.rope", R"({"attn_config": {"rope": true}})"},
                 {mpt, "attn_config.qk_gn", R"({"attn_config": {"qk_gn": true}})"},
                 {mpt, "sliding_window_size", R"({"attn_config": {"sliding_window_size": 64}})"},
                 {mpt, "attn_config.alibi_bias_max 0 is outside",
                  R"({"attn_config": {"alibi": true, "alibi_bias_max": 0}})"},
                 {mpt, "logit_scale", R"({"logit_scale": "other"})"},
                 {mpt, "attn_clip_qkv -1 is outside", R"({"attn_clip_qkv": -1})"}});
}

// falcon-7b's and falcon-40b's first configurations.
TEST(Falcon, RefinedWebsKeys) {
  const Read small = ReadHf(FalconFamily(), R"({"model_type": "RefinedWebModel", "alibi": false,
      "bias": false, "hidden_size": 4544, "multi_query": true, "n_head": 71, "n_layer": 32,
      "parallel_attn": true, "vocab_size": 65024})");
  EXPECT_EQ(small.error, "");
  EXPECT_EQ(small.attention().heads, 71);
  EXPECT_EQ(small.attention().kv_heads, 1);
  EXPECT_EQ(small.spec.blocks[0].residual, Residual::kParallel);
  const Read large = ReadHf(FalconFamily(), R"({"model_type": "RefinedWeb", "alibi": false,
      "bias": false, "hidden_size": 8192, "n_head": 128, "n_head_kv": 8, "n_layer": 60,
      "parallel_attn": true, "vocab_size": 65024})");
  EXPECT_EQ(large.error, "");
  EXPECT_EQ(large.spec.blocks.size(), 60u);
  EXPECT_EQ(large.attention().kv_heads, 8);
  EXPECT_EQ(large.attention().head_dim, 64);
  EXPECT_EQ(large.spec.blocks[0].residual, Residual::kParallelTwoNorms);
}

TEST(Phi, FirstKeys) {
  const Read read = ReadHf(PhiFamily(), R"({"n_embd": 2048, "n_head": 32, "n_inner": null,
      "n_layer": 24, "n_positions": 2048, "rotary_dim": 32, "vocab_size": 50257,
      "pad_vocab_size_multiple": 64, "activation_function": "gelu_new"})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.vocabulary, 50304);
  EXPECT_EQ(read.mlp().inner, 8192);
  EXPECT_EQ(read.mlp().activation, Activation::kGeluTanh);
  EXPECT_EQ(read.attention().rope.rot_dim, 32);
  EXPECT_EQ(read.attention().kv_heads, 32);
  EXPECT_TRUE(read.spec.head_bias);
}

TEST(Layouts, RefuseWhatIsNotServed) {
  ExpectRefused(
      {{&PhiFamily(), "architecture.block_cls",
        R"({"n_embd": 64, "n_head": 4, "architecture": {"block_cls": "sequential"}})"},
       {&PhiFamily(), "architecture.mlp.mlp_cls",
        R"({"n_embd": 64, "n_head": 4, "architecture": {"mlp": {"mlp_cls": "moe"}}})"},
       {&FalconFamily(), "n_head_kv", R"({"model_type": "RefinedWeb", "n_head_kv": 0})"},
       {&StablelmFamily(), "rotary_scaling_factor", R"({"rotary_scaling_factor": 2.0})"}});
}

}  // namespace
}  // namespace shardline
