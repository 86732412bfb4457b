// GGUF files without metadata and with Hugging Face's names: published models are told by their
// shapes, others need config.json. The files here have every tensor of the real ones, and holes for
// data.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/worker/models/golden.h"
#include "tests/worker/models/runner.h"
#include "worker/models/open.h"
#include "worker/weights/resolve.h"

namespace shardline {
namespace {

struct Tensor {
  std::string name;
  std::vector<int64_t> shape;  // outermost first
};

std::vector<Tensor> MistralTensors(int64_t vocabulary, int64_t layers = 32) {
  std::vector<Tensor> tensors = {{"model.embed_tokens.weight", {vocabulary, 4096}},
                                 {"model.norm.weight", {4096}},
                                 {"lm_head.weight", {vocabulary, 4096}}};
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = Cat("model.layers.", i, ".");
    for (const Tensor& t : {Tensor{"input_layernorm", {4096}},
                            {"post_attention_layernorm", {4096}},
                            {"self_attn.q_proj", {4096, 4096}},
                            {"self_attn.k_proj", {1024, 4096}},
                            {"self_attn.v_proj", {1024, 4096}},
                            {"self_attn.o_proj", {4096, 4096}},
                            {"mlp.gate_proj", {14336, 4096}},
                            {"mlp.up_proj", {14336, 4096}},
                            {"mlp.down_proj", {4096, 14336}}}) {
      tensors.push_back({Cat(layer, t.name, ".weight"), t.shape});
    }
  }
  return tensors;
}

std::vector<Tensor> ReplitTensors() {
  std::vector<Tensor> tensors = {{"transformer.wte.weight", {32768, 3072}},
                                 {"transformer.norm_f.weight", {3072}}};
  for (int64_t i = 0; i < 32; ++i) {
    const std::string block = Cat("transformer.blocks.", i, ".");
    for (const Tensor& t : {Tensor{"norm_1", {3072}},
                            {"norm_2", {3072}},
                            {"attn.Wqkv", {5120, 3072}},
                            {"attn.out_proj", {3072, 3072}},
                            {"ffn.up_proj", {12288, 3072}},
                            {"ffn.down_proj", {3072, 12288}}}) {
      tensors.push_back({Cat(block, t.name, ".weight"), t.shape});
    }
  }
  return tensors;
}

class CandleFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/candle_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  template <typename T>
  static void Put(std::string& bytes, T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  // Matrices in Q4_K, vectors in F32.
  std::string Write(const std::vector<Tensor>& tensors) {
    std::string head = "GGUF";
    Put<uint32_t>(head, 2);
    Put<uint64_t>(head, tensors.size());
    Put<uint64_t>(head, 0);  // metadata
    uint64_t offset = 0;
    for (const Tensor& t : tensors) {
      const GgmlType type = t.shape.size() == 2 ? GgmlType::kQ4_K : GgmlType::kF32;
      Put<uint64_t>(head, t.name.size());
      head += t.name;
      Put<uint32_t>(head, static_cast<uint32_t>(t.shape.size()));
      uint64_t elements = 1;
      for (size_t d = t.shape.size(); d > 0; --d) {
        Put<uint64_t>(head, t.shape[d - 1]);
        elements *= t.shape[d - 1];
      }
      Put<uint32_t>(head, static_cast<uint32_t>(type));
      Put<uint64_t>(head, offset);
      const GgmlBlock block = *GgmlBlockOf(type);
      offset += (elements / block.elements * block.bytes + 31) / 32 * 32;
    }
    const std::string path = folder_ + "/model-q4k.gguf";
    std::ofstream(path, std::ios::binary) << head;
    std::filesystem::resize_file(path, (head.size() + 31) / 32 * 32 + offset);
    return path;
  }
  std::string folder_;
};

absl::StatusOr<OpenedModel> Open(const std::string& path) {
  absl::StatusOr<OpenedModel> opened = OpenModel({.path = path, .dtype = "f32", .ops = &CpuOps()});
  if (!opened.ok()) return opened;
  const auto sources = ResolveSources(*opened->checkpoint, opened->names, opened->decoder->plan());
  if (!sources.ok()) return sources.status();
  return opened;
}

TEST_F(CandleFile, Mistral7BIsToldByItsShapes) {
  for (const int64_t vocabulary : {32000, 32002}) {
    const auto opened = Open(Write(MistralTensors(vocabulary)));
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(opened->info.family, "mistral");
    EXPECT_EQ(opened->info.quantisation, "Q4_K");
    EXPECT_EQ(opened->info.vocabulary_size, vocabulary);
    EXPECT_EQ(opened->info.context_tokens, 32768);
    const auto& attention = std::get<Attention>(opened->decoder->spec().blocks.at(31).mixer);
    EXPECT_EQ(attention.heads, 32);
    EXPECT_EQ(attention.kv_heads, 8);
    EXPECT_EQ(attention.window, 4096);
    EXPECT_EQ(attention.rope.theta, 10000);
  }
}

TEST_F(CandleFile, ReplitIsToldByItsShapes) {
  const auto opened = Open(Write(ReplitTensors()));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->info.family, "mpt");
  EXPECT_EQ(opened->info.context_tokens, 4096);
  const auto& attention = std::get<Attention>(opened->decoder->spec().blocks.at(31).mixer);
  EXPECT_EQ(attention.heads, 24);
  EXPECT_EQ(attention.kv_heads, 8);
  EXPECT_EQ(attention.alibi.slopes.size(), 24u);
}

// 32768 words are those of Mistral 7B v0.3, whose rope is another.
TEST_F(CandleFile, OtherShapesNeedTheirConfiguration) {
  const std::string path = Write(MistralTensors(32768));
  EXPECT_EQ(Message(Open(path).status()),
            path +
                ": has Hugging Face's tensor names and no general.architecture, and its shapes "
                "are those of no model known here: put the model's config.json beside it");
  std::ofstream(folder_ + "/config.json") << R"({"architectures": ["MistralForCausalLM"],
      "vocab_size": 32768, "max_position_embeddings": 32768, "rope_theta": 1000000.0,
      "rms_norm_eps": 1e-5, "sliding_window": null})";
  const auto opened = Open(path);
  ASSERT_TRUE(opened.ok()) << opened.status();
  const auto& attention = std::get<Attention>(opened->decoder->spec().blocks.at(0).mixer);
  EXPECT_EQ(attention.rope.theta, 1e6);
  EXPECT_EQ(attention.window, 0);
}

TEST_F(CandleFile, MoreLayersThanPublishedAreUnusedTensors) {
  const std::string error = Message(Open(Write(MistralTensors(32000, 33))).status());
  EXPECT_NE(error.find("unused tensors: model.layers.32.input_layernorm.weight"), error.npos)
      << error;
}

TEST_F(CandleFile, OtherNamesWithoutAnArchitectureAreTheOldError) {
  const std::string path = Write({{"token_embd.weight", {256, 256}}});
  EXPECT_EQ(Message(Open(path).status()), path + ": missing keys: general.architecture");
}

}  // namespace
}  // namespace shardline
