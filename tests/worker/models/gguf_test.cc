// What GGUF metadata means where converters and llama.cpp leave room for doubt: defaults, keys that
// contradict each other, and keys that change the arithmetic.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <string>

#include "shared/base/status.h"
#include "tests/shared/format/gguf_bytes.h"
#include "worker/models/dense.h"
#include "worker/models/registry.h"

namespace shardline {
namespace {

constexpr uint64_t kRows = 6, kHidden = 8;

std::string Write(const GgufBytes& file) {
  std::string path = Cat(testing::TempDir(), "/keys.gguf");
  const std::span<const std::byte> bytes = file.span();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  return path;
}

struct ReadSpec {
  ModelSpec spec;
  std::string error;  // behind the file's name
};

// The spec of a file with the keys that every architecture has, and what `more` puts there, whose
// number it returns. Of tensors there is the embedding.
ReadSpec ReadGguf(const Family& family, const std::function<int(GgufBytes&)>& more) {
  const std::string arch(family.gguf_architecture);
  const auto key = [&](const char* name) { return Cat(arch, ".", name); };
  GgufBytes keys;
  const int added = more(keys);
  GgufBytes file;
  file.Header(1, 7 + added).Text("general.architecture", arch);
  file.Value<uint32_t>(key("block_count"), kGgufU32, 4);
  file.Value<uint32_t>(key("context_length"), kGgufU32, 128);
  file.Value<uint32_t>(key("embedding_length"), kGgufU32, kHidden);
  file.Value<uint32_t>(key("feed_forward_length"), kGgufU32, 16);
  file.Value<uint32_t>(key("attention.head_count"), kGgufU32, 2);
  file.Value<float>(key("attention.layer_norm_rms_epsilon"), kGgufF32, 0.25F);
  file.Raw({reinterpret_cast<const char*>(keys.span().data()), keys.span().size()});
  file.Tensor("token_embd.weight", {kHidden, kRows}, 0, 0).Align();
  file.Zeros(kHidden * kRows * sizeof(float)).Align();
  const std::string path = Write(file);
  const auto checkpoint = Checkpoint::Open(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  if (!checkpoint.ok()) return {};
  GgufConfig& config = *(*checkpoint)->gguf();
  ReadSpec read{family.from_gguf(config, **checkpoint), ""};
  const std::string message(Message(config.status()));
  if (!config.status().ok()) read.error = message.substr(path.size() + 2);
  return read;
}

const Rope& RopeOf(ModelSpec& spec) { return AttentionOf(spec.blocks[0]).rope; }

TEST(Gguf, RopeFactorWithoutTypeIsLinear) {
  for (const char* key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    ReadSpec read = ReadGguf(LlamaFamily(), [&](GgufBytes& keys) {
      keys.Value<float>(key, kGgufF32, 4);
      return 1;
    });
    EXPECT_EQ(read.error, "");
    EXPECT_EQ(RopeOf(read.spec).scaling, (decltype(Rope::scaling){LinearScaling{4}})) << key;
  }
}

TEST(Gguf, YarnAttentionFactorStandsForTheMagnitude) {
  const auto factor_of = [](const char* key) {
    ReadSpec read = ReadGguf(LlamaFamily(), [&](GgufBytes& keys) {
      keys.Text("llama.rope.scaling.type", "yarn");
      keys.Value<float>("llama.rope.scaling.factor", kGgufF32, 4);
      keys.Value<float>(key, kGgufF32, 1.5F);
      return 3;
    });
    EXPECT_EQ(read.error, "");
    return std::get<YarnScaling>(RopeOf(read.spec).scaling).attention_factor;
  };
  EXPECT_EQ(factor_of("llama.rope.scaling.yarn_attn_factor"), 1.5);
  EXPECT_EQ(factor_of("llama.rope.scaling.attn_factor"), 1.5 * YarnMagnitude(4, 1));
}

TEST(Gguf, KeysThatWouldChangeTheArithmeticAreRefused) {
  const auto error_of = [](const std::function<void(GgufBytes&)>& put) {
    return ReadGguf(LlamaFamily(), [&](GgufBytes& keys) { return put(keys), 1; }).error;
  };
  EXPECT_EQ(error_of([](GgufBytes& keys) {
              keys.Value<uint8_t>("llama.attention.causal", kGgufBool, 0);
            }),
            "*.attention.causal is false: a model that embeds, which is not served");
  EXPECT_EQ(error_of([](GgufBytes& keys) {
              keys.Value<float>("llama.attention.temperature_scale", kGgufF32, 0.1F);
            }),
            "*.attention.temperature_scale is not served");
  EXPECT_EQ(error_of([](GgufBytes& keys) {
              keys.Value<float>("llama.rope.scaling.attn_factor", kGgufF32, 1.5F);
            }),
            "*.rope.scaling.attn_factor 1.5 is served with yarn and longrope alone");
  EXPECT_EQ(error_of([](GgufBytes& keys) {
              keys.Value<uint8_t>("llama.attention.causal", kGgufBool, 1);
            }),
            "");
}

// Every part but the first has nothing else that tells what it is.
TEST(Gguf, PartsOfASplitFileAreRefused) {
  GgufBytes part;
  part.Header(0, 2).Value<uint16_t>("split.no", kGgufU16, 1);
  part.Value<uint16_t>("split.count", kGgufU16, 3).Align();
  const std::string path = Write(part);
  const auto checkpoint = Checkpoint::Open(path);
  EXPECT_EQ(Message(checkpoint.status()),
            Cat(path,
                ": is one of 3 parts (split.count), which are not served: join them with "
                "llama-gguf-split --merge"));
}

// Converters write both epsilons of a configuration that has both.
TEST(Gguf, EpsilonIsOfTheNormThatTheArchitectureHas) {
  const auto eps_of = [](const Family& family) {
    return ReadGguf(family,
                    [&](GgufBytes& keys) {
                      keys.Value<float>(
                          Cat(family.gguf_architecture, ".attention.layer_norm_epsilon"), kGgufF32,
                          0.5F);
                      return 1;
                    })
        .spec.final_norm.norm.eps;
  };
  EXPECT_EQ(eps_of(LlamaFamily()), 0.25F);
  EXPECT_EQ(eps_of(OlmoFamily()), 0.5F);
}

TEST(Gguf, Gemma3HasACapOfLogits) {
  const ReadSpec read = ReadGguf(Gemma3Family(), [](GgufBytes& keys) {
    keys.Value<float>("gemma3.final_logit_softcapping", kGgufF32, 30);
    return 1;
  });
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.spec.logit_cap, 30);
}

}  // namespace
}  // namespace shardline
