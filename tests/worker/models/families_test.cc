// Mistral's, Qwen2's and Gemma 3's configurations to their specs: the defaults of the reference
// classes, and what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
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
const Attention& AttentionOf(const ModelSpec& spec, size_t layer) {
  return std::get<Attention>(spec.blocks.at(layer).mixer);
}
std::vector<int64_t> Windows(const ModelSpec& spec) {
  std::vector<int64_t> windows;
  for (size_t i = 0; i < spec.blocks.size(); ++i) windows.push_back(AttentionOf(spec, i).window);
  return windows;
}

TEST(Mistral, DefaultsAreThoseOfTheReferenceClass) {
  const Read read = ReadHf(MistralFamily(), "{}");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.vocabulary, 32000);
  EXPECT_EQ(read.spec.hidden, 4096);
  EXPECT_EQ(read.spec.context, 131072);
  EXPECT_EQ(read.spec.blocks.size(), 32u);
  EXPECT_FALSE(read.spec.tied_head);
  const Attention& attention = AttentionOf(read.spec, 31);
  EXPECT_EQ(attention.heads, 32);
  EXPECT_EQ(attention.kv_heads, 8);
  EXPECT_EQ(attention.head_dim, 128);
  EXPECT_EQ(attention.window, 4096);
  EXPECT_EQ(attention.rope, (Rope{.theta = 10000, .rot_dim = 128}));
  EXPECT_FALSE(attention.qkv_bias || attention.out_bias || attention.head_norm);
}

TEST(Mistral, NullIsNotTheDefault) {
  const Read read = ReadHf(MistralFamily(), R"({"sliding_window": null, "head_dim": null,
      "num_key_value_heads": null, "num_attention_heads": 64})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(AttentionOf(read.spec, 0).window, 0);
  EXPECT_EQ(AttentionOf(read.spec, 0).kv_heads, 64);
  EXPECT_EQ(AttentionOf(read.spec, 0).head_dim, 64);
  EXPECT_EQ(ReadHf(MistralFamily(), R"({"sliding_window": 0})").error,
            "config.json: sliding_window 0 is outside 1..1073741824");
}

TEST(Qwen2, DefaultsAreThoseOfTheReferenceClass) {
  const Read read = ReadHf(Qwen2Family(), R"({"sliding_window": 100, "max_window_layers": 1})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.vocabulary, 151936);
  EXPECT_EQ(read.spec.blocks.size(), 32u);
  const Attention& attention = AttentionOf(read.spec, 31);
  EXPECT_EQ(attention.kv_heads, 32);
  EXPECT_TRUE(attention.qkv_bias);
  EXPECT_FALSE(attention.out_bias);
  EXPECT_EQ(attention.window, 0) << "use_sliding_window is false";
}

TEST(Qwen2, WindowsOfUpperLayersOrOfThoseListed) {
  const auto windows = [](const std::string& more) {
    const Read read = ReadHf(Qwen2Family(), R"({"num_hidden_layers": 4)" + more + "}");
    EXPECT_EQ(read.error, "");
    return Windows(read.spec);
  };
  using W = std::vector<int64_t>;
  EXPECT_EQ(windows(R"(, "use_sliding_window": true, "sliding_window": 9, "max_window_layers": 3)"),
            (W{0, 0, 0, 9}));
  EXPECT_EQ(windows(R"(, "use_sliding_window": true)"), (W{0, 0, 0, 0}));  // 28 full layers
  EXPECT_EQ(
      windows(R"(, "use_sliding_window": true, "sliding_window": null, "max_window_layers": 0)"),
      (W{0, 0, 0, 0}));
  EXPECT_EQ(windows(R"(, "use_sliding_window": true, "layer_types": ["sliding_attention",
                       "full_attention", "full_attention", "sliding_attention"])"),
            (W{4096, 0, 0, 4096}));
  EXPECT_NE(
      ReadHf(Qwen2Family(), R"({"num_hidden_layers": 1, "layer_types": ["sliding_attention"]})")
          .error.find("layer_types"),
      std::string::npos);
  EXPECT_NE(ReadHf(Qwen2Family(), R"({"num_hidden_layers": 2, "layer_types": ["full_attention"]})")
                .error.find("layer_types"),
            std::string::npos);
}

TEST(Gemma3, DefaultsAreThoseOfTheReferenceClass) {
  const Read read = ReadHf(Gemma3Family(), "{}");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.vocabulary, 262208);
  EXPECT_EQ(read.spec.hidden, 2304);
  EXPECT_EQ(read.spec.context, 131072);
  EXPECT_EQ(read.spec.blocks.size(), 26u);
  EXPECT_TRUE(read.spec.tied_head);
  EXPECT_EQ(read.spec.embedding_scale, 48.0);
  EXPECT_EQ(read.spec.blocks[0].residual, Residual::kSandwich);
  const Attention &sliding = AttentionOf(read.spec, 0), &full = AttentionOf(read.spec, 5);
  EXPECT_EQ(sliding.heads, 8);
  EXPECT_EQ(sliding.kv_heads, 4);
  EXPECT_EQ(sliding.head_dim, 256);
  EXPECT_EQ(sliding.scale, 1.0 / 16);
  EXPECT_EQ(sliding.window, 4096);
  EXPECT_EQ(full.window, 0);
  EXPECT_EQ(sliding.rope, (Rope{.theta = 1e4, .rot_dim = 256}));
  EXPECT_EQ(full.rope, (Rope{.theta = 1e6, .rot_dim = 256}));
  const NormSpec norm{{1e-6f, NormRounding::kOnce}, VectorForm::kPlusOne};
  EXPECT_EQ(read.spec.final_norm, norm);
  EXPECT_EQ(sliding.head_norm, norm);
  EXPECT_EQ(std::get<Mlp>(read.spec.blocks[0].ffn).activation, Activation::kGeluTanh);
}

// The two generations of rope keys.
TEST(Gemma3, RopesOfBothKindsOfLayers) {
  const auto ropes = [](const std::string& keys) {
    const Read read =
        ReadHf(Gemma3Family(), R"({"num_hidden_layers": 2, "sliding_window_pattern": 2,
        "head_dim": 8)" + keys + "}");
    EXPECT_EQ(read.error, "");
    return std::pair(AttentionOf(read.spec, 0).rope, AttentionOf(read.spec, 1).rope);
  };
  const Rope local{.theta = 2e4, .rot_dim = 8};
  EXPECT_EQ(ropes(R"(, "rope_theta": 5e5, "rope_local_base_freq": 2e4,
                     "rope_scaling": {"factor": 8.0, "rope_type": "linear"})"),
            std::pair(local, (Rope{.theta = 5e5, .rot_dim = 8, .scaling = LinearScaling{8}})));
  EXPECT_EQ(ropes(R"(, "rope_theta": 5e5, "rope_local_base_freq": 2e4, "rope_scaling": null)"),
            std::pair(local, (Rope{.theta = 5e5, .rot_dim = 8})));
  EXPECT_EQ(ropes(R"(, "rope_parameters": {
                     "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 7e5},
                     "sliding_attention": {"rope_type": "default", "rope_theta": 2e4}})"),
            std::pair(local, (Rope{.theta = 7e5, .rot_dim = 8, .scaling = LinearScaling{4}})));
  EXPECT_EQ(ropes(R"(, "rope_parameters": {"sliding_attention": {"rope_theta": 2e4}})"),
            std::pair(local, (Rope{.theta = 1e6, .rot_dim = 8})));
}

TEST(Gemma3, TextConfigOfModelsThatSee) {
  const Read read =
      ReadHf(Gemma3Family(), R"({"model_type": "gemma3", "vision_config": {"hidden_size": 9},
      "text_config": {"num_hidden_layers": 3, "hidden_size": 1024, "sliding_window": 7}})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.hidden, 1024);
  EXPECT_EQ(Windows(read.spec), (std::vector<int64_t>{7, 7, 7}));
  EXPECT_TRUE(read.spec.tied_head);
  EXPECT_EQ(ReadHf(Gemma3Family(), R"({"text_config": {"hidden_size": "wide"}})").error,
            "config.json: text_config.hidden_size is not an integer");
}

TEST(Gemma3, TheOutermostKeyTiesTheHead) {
  const auto tied = [](const std::string& keys) {
    const Read read = ReadHf(Gemma3Family(), "{" + keys + "}");
    EXPECT_EQ(read.error, "");
    return read.spec.tied_head;
  };
  EXPECT_FALSE(tied(R"("tie_word_embeddings": false)"));
  EXPECT_FALSE(
      tied(R"("tie_word_embeddings": false, "text_config": {"tie_word_embeddings": true})"));
  EXPECT_TRUE(tied(R"("text_config": {"tie_word_embeddings": false})"));
}

TEST(Gemma3, RefusesWhatWouldChangeTheArithmetic) {
  for (const auto& [key, value] : {std::pair{"use_bidirectional_attention", "true"},
                                   {"attn_logit_softcapping", "50.0"},
                                   {"hidden_activation", "\"relu\""},
                                   {"sliding_window", "null"},
                                   {"query_pre_attn_scalar", "0"}}) {
    const std::string error = ReadHf(Gemma3Family(), Cat("{\"", key, "\": ", value, "}")).error;
    EXPECT_NE(error.find(key), std::string::npos) << error;
  }
  EXPECT_EQ(ReadHf(Gemma3Family(), R"({"final_logit_softcapping": null})").error, "");
  EXPECT_EQ(ReadHf(Gemma3Family(), R"({"final_logit_softcapping": 30.0})").spec.logit_cap, 30);
  EXPECT_EQ(ReadHf(Gemma3Family(), R"({"text_config": {"final_logit_softcapping": 30.0}})").error,
            "config.json: text_config.final_logit_softcapping is not served in a model that sees");
}

TEST(Config, NumbersThatMultiplyAreWithinReason) {
  struct Bad {
    const Family* family;
    std::string_view key, value;
  };
  for (const Bad& bad : {
           Bad{&MistralFamily(), "rms_norm_eps", "-1e-5"},
           Bad{&MistralFamily(), "rms_norm_eps", "2"},
           Bad{&MistralFamily(), "rope_theta", "0"},
           Bad{&MistralFamily(), "rope_theta", "1e300"},
           Bad{&GraniteFamily(), "embedding_multiplier", "0"},
           Bad{&GraniteFamily(), "residual_multiplier", "-1"},
           Bad{&GraniteFamily(), "attention_multiplier", "1e9"},
           Bad{&GraniteFamily(), "logits_scaling", "1e-9"},
           Bad{&Gemma2Family(), "final_logit_softcapping", "-1"},
           Bad{&Gemma2Family(), "attn_logit_softcapping", "1e7"},
           Bad{&Gemma2Family(), "query_pre_attn_scalar", "0"},
           Bad{&OlmoFamily(), "clip_qkv", "-0.5"},
           Bad{&StablelmFamily(), "layer_norm_eps", "1.5"},
       }) {
    const std::string error =
        ReadHf(*bad.family, Cat("{\"", bad.key, "\": ", bad.value, "}")).error;
    EXPECT_EQ(error.substr(0, 13 + bad.key.size()), Cat("config.json: ", bad.key)) << error;
    EXPECT_EQ(error.find(';'), std::string::npos) << error;
  }
}

TEST(Qwen3, DefaultsAreThoseOfTheReferenceClass) {
  const Read read = ReadHf(Qwen3Family(), R"({"hidden_size": 1024})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.vocabulary, 151936);
  const Attention& attention = AttentionOf(read.spec, 31);
  EXPECT_EQ(attention.kv_heads, 32);
  EXPECT_EQ(attention.head_dim, 128);
  EXPECT_EQ(attention.head_norm, read.spec.final_norm);
  EXPECT_FALSE(attention.qkv_bias || attention.out_bias);
  EXPECT_EQ(attention.window, 0);
}

TEST(Gemma, DefaultsAreThoseOfTheReferenceClass) {
  const Read read = ReadHf(GemmaFamily(), R"({"hidden_act": "gelu"})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.vocabulary, 256000);
  EXPECT_EQ(read.spec.blocks.size(), 28u);
  EXPECT_TRUE(read.spec.tied_head && read.spec.round_embedding_scale);
  EXPECT_DOUBLE_EQ(read.spec.embedding_scale, std::sqrt(3072.0));
  EXPECT_EQ(read.spec.blocks[0].residual, Residual::kSequential);
  EXPECT_EQ(AttentionOf(read.spec, 0).head_dim, 256);
  EXPECT_EQ(AttentionOf(read.spec, 0).scale, 0);
  EXPECT_EQ(std::get<Mlp>(read.spec.blocks[0].ffn).activation, Activation::kGeluTanh);
}

TEST(Gemma2, DefaultsAreThoseOfTheReferenceClass) {
  const Read read = ReadHf(Gemma2Family(), "{}");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.logit_cap, 30);
  EXPECT_EQ(read.spec.blocks[25].residual, Residual::kSandwich);
  EXPECT_EQ(AttentionOf(read.spec, 0).score_cap, 50);
  EXPECT_EQ(AttentionOf(read.spec, 0).scale, 1.0 / 16);
  EXPECT_EQ(AttentionOf(read.spec, 0).window, 4096);
  EXPECT_EQ(AttentionOf(read.spec, 1).window, 0);
  EXPECT_FALSE(AttentionOf(read.spec, 0).head_norm);
}

TEST(Gemma2, NullIsNoCap) {
  const Read read = ReadHf(Gemma2Family(), R"({"final_logit_softcapping": null,
      "attn_logit_softcapping": null})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.logit_cap, 0);
  EXPECT_EQ(AttentionOf(read.spec, 0).score_cap, 0);
  EXPECT_NE(ReadHf(Gemma2Family(), R"({"final_logit_softcapping": -1})").error, "");
  EXPECT_NE(ReadHf(Gemma2Family(), R"({"sliding_window": null})").error, "");
}

TEST(Phi3, DefaultsAreThoseOfTheReferenceClass) {
  const Read read = ReadHf(Phi3Family(), "{}");
  EXPECT_EQ(read.error, "");
  EXPECT_FLOAT_EQ(read.spec.final_norm.norm.eps, 1e-5f);
  EXPECT_EQ(AttentionOf(read.spec, 0).kv_heads, 32);
  EXPECT_EQ(AttentionOf(read.spec, 0).window, 0);
  EXPECT_EQ(AttentionOf(read.spec, 0).rope, (Rope{.theta = 10000, .rot_dim = 96}));
}

// "su" and "yarn" are what the first files called it.
TEST(Phi3, EveryScaledRopeIsLongrope) {
  const auto rope = [](const std::string& keys) {
    const Read read = ReadHf(Phi3Family(), R"({"hidden_size": 64, "num_attention_heads": 4,
        "max_position_embeddings": 8192)" + keys +
                                               "}");
    EXPECT_EQ(read.error, "");
    return AttentionOf(read.spec, 0).rope;
  };
  const auto typed = [](const std::string& type) {
    return R"(, "original_max_position_embeddings": 4096, "partial_rotary_factor": 0.25,
        "rope_scaling": {"type": ")" +
           type + R"(", "short_factor": [1, 2], "long_factor": [3, 4]})";
  };
  const Rope longrope = rope(typed("longrope"));
  EXPECT_EQ(longrope.rot_dim, 4);
  EXPECT_EQ(std::get<LongropeScaling>(longrope.scaling).original_positions, 4096);
  EXPECT_EQ(rope(typed("su")), longrope);
  EXPECT_EQ(rope(typed("yarn")), longrope);
  EXPECT_NE(ReadHf(Phi3Family(), R"({"rope_scaling": {"type": "linear", "factor": 2}})").error, "");
  EXPECT_NE(ReadHf(Phi3Family(), R"({"partial_rotary_factor": 1.5})").error, "");
}

TEST(Granite, ReadsItsFactors) {
  const Read read = ReadHf(GraniteFamily(), R"({"embedding_multiplier": 12, "logits_scaling": 8,
      "residual_multiplier": 0.22, "attention_multiplier": 0.015625})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.embedding_scale, 12);
  EXPECT_FALSE(read.spec.round_embedding_scale);
  EXPECT_EQ(read.spec.logit_scale, 0.125);
  EXPECT_EQ(read.spec.blocks[31].residual_scale, 0.22);
  EXPECT_EQ(AttentionOf(read.spec, 0).scale, 0.015625);
  EXPECT_EQ(AttentionOf(ReadHf(GraniteFamily(), "{}").spec, 0).scale, 1);
  EXPECT_EQ(ReadHf(GraniteFamily(), R"({"logits_scaling": 0})").error,
            "config.json: logits_scaling 0 is outside 1e-06..1e+06");
}

TEST(Olmo2, NormsComeAfterTheParts) {
  const Read read = ReadHf(Olmo2Family(), "{}");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.blocks[0].residual, Residual::kPostNorm);
  EXPECT_EQ(AttentionOf(read.spec, 0).row_norm, (NormSpec{{1e-5f, NormRounding::kOnce}}));
  EXPECT_FALSE(AttentionOf(read.spec, 0).head_norm);
}

TEST(Helium, DefaultsAreThoseOfTheReferenceClass) {
  const Read read = ReadHf(HeliumFamily(), "{}");
  EXPECT_EQ(read.error, "");
  EXPECT_FLOAT_EQ(read.spec.final_norm.norm.eps, 1e-8f);
  EXPECT_EQ(AttentionOf(read.spec, 0).rope,
            (Rope{.theta = 1e5, .rot_dim = 128, .style = RopeStyle::kInterleaved}));
}

// A key without a value is not a key that is missing.
TEST(Glm, NullRotatesWholeHeads) {
  const auto rotated = [](const char* json) {
    const Read read = ReadHf(Glm4Family(), json);
    EXPECT_EQ(read.error, "");
    return AttentionOf(read.spec, 0).rope.rot_dim;
  };
  EXPECT_EQ(rotated("{}"), 64);
  EXPECT_EQ(rotated(R"({"partial_rotary_factor": null})"), 128);
  EXPECT_EQ(rotated(R"({"partial_rotary_factor": null,
                        "rope_parameters": {"partial_rotary_factor": 0.25}})"),
            32);
}

TEST(Glm, DefaultsAreThoseOfTheReferenceClass) {
  for (const Family* family : {&GlmFamily(), &Glm4Family()}) {
    const Read read = ReadHf(*family, "{}");
    EXPECT_EQ(read.error, "");
    EXPECT_EQ(read.spec.blocks[0].residual,
              family == &GlmFamily() ? Residual::kSequential : Residual::kSandwich);
    EXPECT_EQ(AttentionOf(read.spec, 0).kv_heads, 2);
    EXPECT_TRUE(AttentionOf(read.spec, 0).qkv_bias);
    EXPECT_FALSE(AttentionOf(read.spec, 0).out_bias);
    EXPECT_EQ(AttentionOf(read.spec, 0).rope,
              (Rope{.theta = 1e4, .rot_dim = 64, .style = RopeStyle::kInterleaved}));
  }
}

TEST(Mixtral, DefaultsAreThoseOfTheReferenceClass) {
  const Read read = ReadHf(MixtralFamily(), "{}");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(AttentionOf(read.spec, 0).window, 0);
  EXPECT_EQ(AttentionOf(read.spec, 0).rope.theta, 1e6);
  const auto& moe = std::get<Moe>(read.spec.blocks[31].ffn);
  EXPECT_EQ(moe.experts, 8);
  EXPECT_EQ(moe.active, 2);
  EXPECT_EQ(moe.inner, 14336);
  EXPECT_TRUE(moe.router.routing.renormalise);
  EXPECT_EQ(ReadHf(MixtralFamily(), R"({"num_experts_per_tok": 9})").error,
            "config.json: num_experts_per_tok (expert_used_count) 9 of 8 experts");
}

TEST(Qwen3Moe, DenseLayersAreThoseThatTheKeysTell) {
  const auto mixtures = [](const std::string& keys) {
    const Read read = ReadHf(Qwen3MoeFamily(), R"({"num_hidden_layers": 4)" + keys + "}");
    EXPECT_EQ(read.error, "");
    std::vector<int64_t> experts;
    for (const Block& block : read.spec.blocks) {
      const auto* moe = std::get_if<Moe>(&block.ffn);
      experts.push_back(moe == nullptr ? 0 : moe->experts);
    }
    return experts;
  };
  using E = std::vector<int64_t>;
  EXPECT_EQ(mixtures(""), (E{128, 128, 128, 128}));
  EXPECT_EQ(mixtures(R"(, "decoder_sparse_step": 2, "num_experts": 16)"), (E{0, 16, 0, 16}));
  EXPECT_EQ(mixtures(R"(, "mlp_only_layers": [0, 3])"), (E{0, 128, 128, 0}));
  EXPECT_EQ(mixtures(R"(, "num_local_experts": 16)"), (E{16, 16, 16, 16}));
  const Read read = ReadHf(Qwen3MoeFamily(), "{}");
  EXPECT_FALSE(std::get<Moe>(read.spec.blocks[0].ffn).router.routing.renormalise);
}

TEST(Qwen2Moe, DefaultsAreThoseOfTheReferenceClass) {
  const Read read = ReadHf(Qwen2MoeFamily(), "{}");
  EXPECT_EQ(read.error, "");
  const auto& moe = std::get<Moe>(read.spec.blocks[23].ffn);
  EXPECT_EQ(moe.experts, 60);
  EXPECT_EQ(moe.active, 4);
  EXPECT_EQ(moe.inner, 1408);
  EXPECT_FALSE(moe.router.routing.renormalise);
  ASSERT_TRUE(moe.shared.has_value());
  EXPECT_EQ(moe.shared->inner, 5632);
  EXPECT_TRUE(moe.shared_gate);
  EXPECT_TRUE(AttentionOf(read.spec, 0).qkv_bias);
  EXPECT_EQ(AttentionOf(read.spec, 0).window, 0);
}

TEST(Qwen2Moe, WindowsAreInEveryOtherOfTheFirstLayers) {
  const auto windows = [](const std::string& keys) {
    const Read read = ReadHf(
        Qwen2MoeFamily(),
        R"({"num_hidden_layers": 6, "sliding_window": 9, "max_window_layers": 4)" + keys + "}");
    EXPECT_EQ(read.error, "");
    return Windows(read.spec);
  };
  EXPECT_EQ(windows(""), (std::vector<int64_t>{0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(windows(R"(, "use_sliding_window": true)"), (std::vector<int64_t>{9, 0, 9, 0, 0, 0}));
}

// All that a token chooses are together as wide as the dense MLP.
TEST(Qwen2Moe, FirstGgufFilesTellNoSizesOfExperts) {
  std::ifstream file(GoldenCheckpoint("gguf_of_qwen2_moe"), std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  for (const std::string key :
       {"expert_feed_forward_length", "expert_shared_feed_forward_length"}) {
    const size_t at = bytes.find("qwen2moe." + key);
    ASSERT_NE(at, std::string::npos);
    bytes.replace(at, 9, "other----");
  }
  const std::string path = testing::TempDir() + "no_sizes_of_experts.gguf";
  std::ofstream(path, std::ios::binary) << bytes;
  const auto checkpoint = Checkpoint::Open(path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const ModelSpec spec = Qwen2MoeFamily().from_gguf(*(*checkpoint)->gguf(), **checkpoint);
  EXPECT_TRUE((*checkpoint)->gguf()->status().ok()) << (*checkpoint)->gguf()->status();
  const auto& moe = std::get<Moe>(spec.blocks[0].ffn);
  EXPECT_EQ(moe.inner, 40);  // 80 for two
  EXPECT_EQ(moe.shared->inner, 80);
}

TEST(GraniteMoe, DefaultsAreThoseOfTheReferenceClass) {
  const Read read = ReadHf(GraniteMoeFamily(), "{}");
  EXPECT_EQ(read.error, "");
  const auto& moe = std::get<Moe>(read.spec.blocks[31].ffn);
  EXPECT_EQ(moe.experts, 8);
  EXPECT_EQ(moe.active, 2);
  EXPECT_EQ(moe.inner, 11008);
  EXPECT_TRUE(moe.router.routing.renormalise);
  EXPECT_FALSE(moe.shared.has_value());
  const Read shared = ReadHf(GraniteMoeFamily(), R"({"shared_intermediate_size": 24})");
  EXPECT_EQ(std::get<Moe>(shared.spec.blocks[0].ffn).shared->inner, 24);
}

TEST(Deepseek, ReadsWhatItsOwnCodeReads) {
  const Read dense = ReadHf(DeepseekFamily(), "{}");
  EXPECT_EQ(dense.error, "");
  EXPECT_EQ(std::get<Mlp>(dense.spec.blocks[29].ffn).inner, 11008);
  const std::string experts = R"("n_routed_experts": 64, "num_experts_per_tok": 6)";
  const Read read = ReadHf(DeepseekFamily(), "{" + experts + R"(, "n_shared_experts": 2,
      "moe_intermediate_size": 1408, "first_k_dense_replace": 1, "norm_topk_prob": true})");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(std::get<Mlp>(read.spec.blocks[0].ffn).inner, 11008);
  const auto& moe = std::get<Moe>(read.spec.blocks[1].ffn);
  EXPECT_EQ(moe.shared->inner, 2816);
  EXPECT_FALSE(moe.shared_gate);
  EXPECT_TRUE(moe.router.routing.renormalise);
  EXPECT_EQ(ReadHf(DeepseekFamily(), "{" + experts + R"(, "scoring_func": "sigmoid"})").error,
            "config.json: scoring_func is not softmax");
}

}  // namespace
}  // namespace shardline
