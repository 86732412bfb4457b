// Loading: options, what the model says of itself, broken checkpoints, malformed plans.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "shared/format/gguf.h"
#include "tests/worker/models/golden.h"
#include "tests/worker/models/runner.h"
#include "worker/models/registry.h"

namespace shardline {
namespace {

std::string LoadError(const std::string& path, const std::string& dtype = "f32") {
  const auto model = Model::Load({.path = path, .dtype = dtype, .ops = &CpuOps()}, nullptr);
  EXPECT_FALSE(model.ok());
  const std::string text = Message(model.status());
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  return text;
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return (std::ostringstream() << in.rdbuf()).str();
}

// A copy of a golden checkpoint in which files can be changed.
class BrokenCheckpoint : public testing::Test {
 protected:
  void Take(const std::string& name) {
    folder_ = testing::TempDir() + "/broken_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::copy(GoldenFolder() + "/" + name, folder_);
    std::filesystem::remove(folder_ + "/reference.safetensors");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& file, const std::string& bytes) {
    std::ofstream(folder_ + "/" + file, std::ios::binary) << bytes;
  }
  // Every `from` of the file becomes `to`; but in text it is of the same length.
  void Replace(const std::string& file, const std::string& from, const std::string& to) {
    std::string bytes = ReadFile(folder_ + "/" + file);
    ASSERT_NE(bytes.find(from), std::string::npos);
    for (size_t at = 0; (at = bytes.find(from, at)) != std::string::npos; at += to.size()) {
      bytes.replace(at, from.size(), to);
    }
    Write(file, bytes);
  }
  std::string folder_;
};

TEST_F(BrokenCheckpoint, MissingAndUnusedTensorsAreOneLine) {
  Take("llama");
  Replace("model.safetensors", "1.self_attn.q_proj.weight", "1.self_attn.x_proj.weight");
  Replace("model.safetensors", "model.norm.weight", "model.noun.weight");
  EXPECT_EQ(LoadError(folder_),
            folder_ +
                ": missing tensors: model.layers.1.self_attn.q_proj.weight, model.norm.weight; "
                "unused tensors: model.layers.1.self_attn.x_proj.weight, model.noun.weight");
}

TEST_F(BrokenCheckpoint, WrongShapesAreListed) {
  Take("llama");
  Replace("config.json", "\"vocab_size\": 128", "\"vocab_size\": 120");
  EXPECT_EQ(LoadError(folder_),
            folder_ +
                ": wrong shapes: model.embed_tokens.weight is [128, 64], not [120, 64], "
                "lm_head.weight is [128, 64], not [120, 64]");
}

TEST_F(BrokenCheckpoint, MoreLayersThanTensors) {
  Take("llama");
  Replace("config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 9");
  const std::string error = LoadError(folder_);
  EXPECT_NE(error.find("model.layers.{3-8}.mlp.down_proj.weight"), std::string::npos) << error;
}

TEST_F(BrokenCheckpoint, AnUnreadBiasIsAnError) {
  Take("biases_linear");
  Replace("config.json", "\"mlp_bias\": true", "\"mlp_bias\": null");
  const std::string error = LoadError(folder_);
  EXPECT_NE(error.find("unused tensors: model.layers.{0-1}.mlp.down_proj.bias"), std::string::npos)
      << error;
}

TEST_F(BrokenCheckpoint, UnknownArchitecture) {
  Take("llama");
  Replace("config.json", "LlamaForCausalLM", "Gwen2ForCausalLM");
  const std::string error = LoadError(folder_);
  const std::string begin =
      folder_ + "/config.json: architectures 'Gwen2ForCausalLM' is not served; served are: ";
  const std::string end = "; the nearest name is Qwen2ForCausalLM";
  ASSERT_TRUE(error.starts_with(begin) && error.ends_with(end)) << error;
  const std::string listed =
      ", " + error.substr(begin.size(), error.size() - begin.size() - end.size()) + ",";
  size_t last = 0;
  std::set<std::string> names;  // in order, and where they stand
  for (const Family* family : Families()) {
    names.insert(family->hf_architectures.begin(), family->hf_architectures.end());
  }
  for (const std::string& name : names) {
    const size_t at = listed.find(", " + name + ",");
    ASSERT_NE(at, std::string::npos) << name << " in " << listed;
    EXPECT_GE(at, last) << name;
    last = at;
  }
}

TEST_F(BrokenCheckpoint, UnknownArchitectureOfGguf) {
  Take("gguf_of_qwen2_tied");
  Replace("model.gguf", "qwen2", "gwen2");
  const std::string error = LoadError(folder_ + "/model.gguf");
  const std::string begin = folder_ +
                            "/model.gguf: general.architecture 'gwen2' is not served; served are: "
                            "chatglm, deepseek, deepseek2, falcon, ";
  EXPECT_TRUE(error.starts_with(begin)) << error;
  EXPECT_TRUE(error.ends_with("; the nearest name is qwen2")) << error;
}

TEST_F(BrokenCheckpoint, ProblemsOfTheConfigurationAreOneLine) {
  Take("llama");
  Replace("config.json", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3");
  Replace("config.json", "\"rope_theta\": 10000.0",
          R"("rope_scaling": {"rope_type": "spiral"}, "mlp_bias": "yes")");
  const std::string two =
      "rope_scaling.rope_type 'spiral' is not one of default, linear, dynamic, yarn, longrope and "
      "llama3";
  EXPECT_EQ(LoadError(folder_),
            folder_ + "/config.json: " + two + "; mlp_bias is not true or false");
  Replace("config.json", "\"yes\"", "true ");
  EXPECT_EQ(LoadError(folder_), folder_ + "/config.json: " + two +
                                    "; 4 attention heads are not a multiple of 3 key-value heads");
  // What a missing number would have to fit is not known.
  Replace("config.json", "\"num_attention_heads\"", "\"num_intention_heads\"");
  EXPECT_EQ(LoadError(folder_),
            folder_ + "/config.json: missing keys: num_attention_heads; " + two);
}

// Frequencies are divided by these.
TEST_F(BrokenCheckpoint, ProblemsOfConfigurationAndTensorsAreOneLine) {
  Take("llama");
  Replace("config.json", "\"rope_theta\": 10000.0", R"("rope_scaling": {"rope_type": "spiral"})");
  Replace("config.json", "\"vocab_size\": 128", "\"vocab_size\": 120");
  Replace("model.safetensors", "model.norm.weight", "model.noun.weight");
  EXPECT_EQ(LoadError(folder_),
            folder_ +
                "/config.json: rope_scaling.rope_type 'spiral' is not one of default, linear, "
                "dynamic, yarn, longrope and llama3; " +
                folder_ +
                ": missing tensors: model.norm.weight; unused tensors: model.noun.weight; wrong "
                "shapes: model.embed_tokens.weight is [128, 64], not [120, 64], lm_head.weight is "
                "[128, 64], not [120, 64]");
}

TEST_F(BrokenCheckpoint, ProblemsOfMixturesAreOneLine) {
  Take("deepseek_v3");
  Replace("config.json", "\"n_group\": 3", "\"n_group\": 4");
  Replace("config.json", "\"routed_scaling_factor\": 2.5", "\"routed_scaling_factor\": -1.0");
  const std::string error = LoadError(folder_);
  EXPECT_NE(error.find("routed_scaling_factor -1 is outside 0..1e+06; "), std::string::npos)
      << error;
  EXPECT_NE(error.find("; n_group (expert_group_count) 4 does not divide 6 experts"),
            std::string::npos)
      << error;
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
}

TEST_F(BrokenCheckpoint, RopeFactorsOfZero) {
  for (const char* name : {"gguf_of_phi3_longrope", "gguf_rope_freqs_tied"}) {
    Take(name);
    std::string bytes = ReadFile(folder_ + "/model.gguf");
    const auto gguf = GgufFile::Parse(std::as_bytes(std::span(bytes)), "model.gguf");
    ASSERT_TRUE(gguf.ok()) << gguf.status();
    for (const GgufTensor& tensor : (*gguf)->tensors()) {
      if (!tensor.name.starts_with("rope_")) continue;
      const char* data = reinterpret_cast<const char*>(tensor.data.data());
      std::string zeroed = bytes;
      zeroed.replace(data - bytes.data(), tensor.data.size(), tensor.data.size(), '\0');
      Write("model.gguf", zeroed);
      EXPECT_NE(LoadError(folder_ + "/model.gguf").find("holds what is no positive number"),
                std::string::npos)
          << tensor.name;
    }
  }
}

// `tie_word_embeddings` beside a head that differs from the embedding is a mistake.
TEST_F(BrokenCheckpoint, AHeadOfItsOwnIsReadWhateverIsSaidOfIt) {
  Take("llama");
  const auto parameters = [this] {
    const auto model = Model::Load({.path = folder_, .dtype = "f32", .ops = &CpuOps()}, nullptr);
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? (*model)->info().parameters : 0;
  };
  const int64_t untied = parameters();
  const std::string config = ReadFile(folder_ + "/config.json");
  Write("config.json", R"({"tie_word_embeddings": true,)" + config.substr(1));
  EXPECT_EQ(parameters(), untied);

  std::string bytes = ReadFile(folder_ + "/model.safetensors");
  const auto file = SafetensorsCheckpoint::Parse(std::as_bytes(std::span(bytes)), "");
  ASSERT_TRUE(file.ok()) << file.status();
  const auto& embedding = (*file)->Find("model.embed_tokens.weight")->data;
  const auto* start = std::as_bytes(std::span(bytes)).data();
  std::memcpy(bytes.data() + ((*file)->Find("lm_head.weight")->data.data() - start),
              embedding.data(), embedding.size());
  Write("model.safetensors", bytes);
  EXPECT_EQ(parameters(), untied - 128 * 64);
}

// A window in layers that the architecture's class does not give one; sinks that none has.
TEST_F(BrokenCheckpoint, KeysOfOtherCode) {
  struct Case {
    const char *name, *add, *error;
  };
  for (const Case& c :
       {Case{"mistral", R"("layer_types": ["full_attention", "sliding_attention"],)",
             "layer_types has sliding_attention, not served with this architecture"},
        Case{"llama", R"("use_attention_sinks": true,)",
             "use_attention_sinks is not served with this architecture"},
        Case{"llama", R"("logit_scale": 0.0625,)",
             "logit_scale is not served with this architecture"},
        Case{"deepseek_moe", R"("routed_scaling_factor": 2.5,)",
             "routed_scaling_factor is not served with this architecture"},
        Case{"llama", R"("per_layer_config": {"1": {"intermediate_size": 112}},)",
             "per_layer_config is not served with this architecture"},
        Case{"llama", R"("is_causal": false,)", "is_causal false is not served"},
        Case{"qwen2_tied", R"("attention_chunk_size": 8192,)",
             "attention_chunk_size is not served with this architecture"}}) {
    Take(c.name);
    const std::string config = ReadFile(folder_ + "/config.json");
    Write("config.json", "{" + std::string(c.add) + config.substr(1));
    EXPECT_EQ(LoadError(folder_), folder_ + "/config.json: " + c.error);
  }
  // Nothing that matters, and what the family reads.
  Take("llama");
  const std::string config = ReadFile(folder_ + "/config.json");
  Write("config.json",
        R"({"attention_chunk_size": null, "alibi": false, "residual_multiplier": 1.0,
            "per_layer_config": {}, "is_causal": true, "layer_types": ["full_attention"],)" +
            config.substr(1));
  EXPECT_TRUE(Model::Load({.path = folder_, .dtype = "f32", .ops = &CpuOps()}, nullptr).ok());
  for (const char* name : {"qwen3_tied", "qwen3_moe"}) {
    Take(name);
    const std::string qwen3 = ReadFile(folder_ + "/config.json");
    Write("config.json", R"({"use_qk_norm": true,)" + qwen3.substr(1));
    EXPECT_TRUE(Model::Load({.path = folder_, .dtype = "f32", .ops = &CpuOps()}, nullptr).ok());
    Write("config.json", R"({"use_qk_norm": false,)" + qwen3.substr(1));
    EXPECT_EQ(LoadError(folder_), folder_ + "/config.json: use_qk_norm false is not served");
  }
}

TEST_F(BrokenCheckpoint, TruncatedFiles) {
  Take("llama");
  const std::string bytes = ReadFile(folder_ + "/model.safetensors");
  for (size_t size : {size_t{0}, size_t{4}, size_t{100}, bytes.size() - 1}) {
    Write("model.safetensors", bytes.substr(0, size));
    EXPECT_NE(LoadError(folder_).find("model.safetensors"), std::string::npos);
  }
  Take("gguf_q4_0");
  const std::string gguf = ReadFile(folder_ + "/model.gguf");
  for (size_t size : {size_t{0}, size_t{10}, size_t{300}, gguf.size() / 2}) {
    Write("model.gguf", gguf.substr(0, size));
    EXPECT_NE(LoadError(folder_ + "/model.gguf").find("model.gguf"), std::string::npos);
  }
}

TEST_F(BrokenCheckpoint, MissingShard) {
  Take("biases_linear");
  std::filesystem::remove(folder_ + "/model-00002-of-00003.safetensors");
  EXPECT_NE(LoadError(folder_).find("model-00002-of-00003.safetensors"), std::string::npos);
}

TEST_F(BrokenCheckpoint, NothingThere) {
  EXPECT_NE(LoadError("/nonexistent/model.gguf").find("/nonexistent/model.gguf"),
            std::string::npos);
}

TEST(Load, RefusesOtherTypesByFlag) {
  EXPECT_EQ(LoadError(GoldenCheckpoint("llama"), "f64"),
            "--dtype=f64 is not served; use auto, f32, bf16 or f16");
}

TEST(Load, RefusesAContextBeyondLearnedPositions) {
  const auto load = [](int64_t context) {
    return Message(Model::Load({.path = GoldenCheckpoint("bigcode"),
                                .dtype = "f32",
                                .ops = &CpuOps(),
                                .max_batch_tokens = 8,
                                .max_context = context},
                               nullptr)
                       .status());
  };
  EXPECT_EQ(load(0), "");
  EXPECT_EQ(load(128), "");
  EXPECT_EQ(load(129), "--max-context=129 exceeds the 128 positions that the model has learned");
}

TEST(Load, AutoKeepsF32FilesAndNarrowsTheRestWhereVectorsDo) {
  for (const char* name : {"scalar", "avx2", "avx512", "avx512_bf16"}) {
    const Ops* ops = CpuOpsFor(name);
    if (ops == nullptr) continue;
    const bool scalar = ops->instruction_set == "scalar";
    const auto type = [&](const char* golden) {
      return LoadModel(GoldenCheckpoint(golden), *ops, "auto").model->info().dtype;
    };
    EXPECT_EQ(type("llama3_rope_tied"), DType::kF32) << name;
    EXPECT_EQ(type("llama"), scalar ? DType::kF32 : DType::kBF16) << name;
    EXPECT_EQ(type("gguf_q4_0"), scalar ? DType::kF32 : DType::kBF16) << name;
  }
}

TEST(Load, TellsAboutTheModel) {
  const LoadedModel loaded = LoadModel(GoldenCheckpoint("gguf_q8_0"), CpuOps());
  const ModelInfo& info = loaded.model->info();
  EXPECT_EQ(info.family, "llama");
  EXPECT_EQ(info.dtype, DType::kF32);
  EXPECT_EQ(info.arithmetic, "f32");
  EXPECT_EQ(info.quantisation, "Q8_0");
  EXPECT_EQ(info.vocabulary_size, 96);
  EXPECT_EQ(info.context_tokens, 128);
  EXPECT_EQ(info.layers, 2);
  EXPECT_EQ(info.hidden, 64);
  EXPECT_EQ(info.parameters,
            2 * 96 * 64 + 64 + 2 * (2 * 64 + 64 * (64 + 32 + 32 + 64) + 3 * 64 * 96));
  ASSERT_EQ(loaded.model->state_groups().size(), 1u);
  const StateGroup& group = loaded.model->state_groups()[0];
  EXPECT_EQ(group.layers, 2);
  EXPECT_EQ(group.kv_heads, 2);
  EXPECT_EQ(group.head_dim, 16);
}

// Scales are no parameters.
TEST(Load, TellsOfWeightsOfEightBits) {
  const ModelInfo info = LoadModel(GoldenCheckpoint("qwen3_fp8"), CpuOps()).model->info();
  EXPECT_EQ(info.quantisation, "F8_E4M3");
  EXPECT_EQ(info.parameters, 80 * 136 + 3 * 136 + 2 * 48 + 136 * (144 + 48 + 48 + 144 + 3 * 144));
}

TEST_F(BrokenCheckpoint, OtherQuantisationsAreOneLine) {
  Take("qwen3_fp8");
  Replace("config.json", R"("quant_method": "fp8")", R"("quant_method": "awq")");
  EXPECT_EQ(LoadError(folder_),
            folder_ +
                "/config.json: quantization_config.quant_method 'awq' is not read: fp8, "
                "fbgemm_fp8 and compressed-tensors with floats of eight bits are; otherwise "
                "give the unquantised checkpoint or a GGUF file");
}

TEST(Load, ReportsProgressUpToOne) {
  std::vector<double> fractions;
  const auto model =
      Model::Load({.path = GoldenCheckpoint("llama"), .dtype = "f32", .ops = &CpuOps()},
                  [&](std::string_view, double fraction) { fractions.push_back(fraction); });
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_GT(fractions.size(), 1u);
  EXPECT_EQ(fractions.back(), 1.0);
}

TEST(Forward, RefusesMalformedPlans) {
  const LoadedModel loaded = LoadModel(GoldenCheckpoint("llama"), CpuOps(), "f32", 1, 32);
  Runner runner(*loaded.model, 1, 32);
  StepPlan good;
  good.rows.push_back({.token_count = 2, .wanted_count = 1, .prompt_tokens = 2});
  good.tokens = {1, 2};
  good.wanted = {1};
  const auto refused = [&](const auto& change) {
    StepPlan plan = good;
    change(plan);
    return loaded.model->Forward(plan, runner.state()).code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(loaded.model->Forward(good, runner.state()).ok());
  EXPECT_TRUE(refused([](StepPlan& p) { p.tokens[1] = 128; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.wanted[0] = 2; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.rows[0].first_position = 31; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.rows[0].first_position = -1; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.rows[0].first_position = 2147483647; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.rows[0].token_count = 1; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.rows[0].token_count = 3; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.rows[0].first_token = 1; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.tokens.resize(1000); }));
  std::vector<float> logits(128);
  const View row = View::Contiguous(logits.data(), DType::kF32, {1, 128});
  EXPECT_FALSE(loaded.model->Logits(0, 1, row).ok()) << "nothing is wanted after a refused plan";
}

}  // namespace
}  // namespace shardline
