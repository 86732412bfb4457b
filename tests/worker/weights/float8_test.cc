// Weights of eight bits: their numbers, their scales wherever a cut falls, and what is not read.
#include "worker/weights/float8.h"

#include <cmath>
#include <limits>
#include <random>

#include "tests/worker/weights/write_checkpoint.h"

namespace shardline {
namespace {

// By the definition: a sign, four bits of exponent, three of mantissa.
float Value(uint8_t bits) {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  if ((bits & 0x7f) == 0x7f) return std::numeric_limits<float>::quiet_NaN();
  const float magnitude =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return bits & 0x80 ? -magnitude : magnitude;
}

TEST(Float8, EveryNumber) {
  EXPECT_EQ(Value(0x7e), 448.0f);
  EXPECT_EQ(Value(0x38), 1.0f);
  for (int bits = 0; bits < 256; ++bits) {
    const auto byte = static_cast<std::byte>(bits);
    float got = 0;
    Dequantize(StoredType::kF8E4M3, &byte, 1, DType::kF32, &got);
    const float expected = Value(static_cast<uint8_t>(bits));
    EXPECT_EQ(std::isnan(got), std::isnan(expected));
    EXPECT_EQ(std::signbit(got), (bits & 0x80) != 0);
    if (std::isnan(expected)) continue;
    EXPECT_EQ(got, expected) << bits;
  }
}

constexpr int64_t kRows = 11, kCols = 9;

// A matrix without NaNs and what its bytes stand for.
TestTensor RandomMatrix(std::vector<float>& values) {
  std::mt19937 random(5);
  std::string bytes;
  for (int64_t i = 0; i < kRows * kCols; ++i) {
    bytes += static_cast<char>(random() % 2 * 0x80 + random() % 0x7f);
    values.push_back(Value(static_cast<uint8_t>(bytes.back())));
  }
  return {"blk.0.k.weight", "F8_E4M3", {kRows, kCols}, bytes};
}

std::vector<float> RandomScales(int64_t count) {
  std::mt19937 random(6);
  std::vector<float> scales;
  for (int64_t i = 0; i < count; ++i) scales.push_back(std::ldexp(1.0f + random() % 999, -12));
  return scales;
}

const NameTable& Names() {
  static const NameTable kNames{.rules = {{"*.k", "blk.*.k"}}};
  return kNames;
}

constexpr const char* kBlocksOf4x3 =
    R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [4, 3]}})";
constexpr const char* kNoBlocks = R"({"quantization_config": {"quant_method": "fp8"}})";

// The rows and columns of a rank, whichever they are, in every type.
TEST(Float8, ScalesOfBlocksWhereverACutFalls) {
  std::vector<float> values;
  const TestTensor matrix = RandomMatrix(values);
  const std::vector<float> scales = RandomScales(9);
  const auto checkpoint = OpenWritten(
      {matrix, {"blk.0.k.weight_scale_inv", "F32", {3, 3}, Bytes(scales)}}, kBlocksOf4x3);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->tensors().size(), 1u);
  EXPECT_EQ((*checkpoint)->quantisation(), "F8_E4M3");
  const auto check = [&](AxisRange rows, AxisRange cols, DType type) {
    WeightPlan plan;
    Packed packed;
    WeightSlot slot = Slot("0.k.weight", {kRows, kCols});
    slot.axes[0].part = rows, slot.axes[1].part = cols;
    plan.Matrix(&packed, {slot});
    const auto memory = LoadWeights(**checkpoint, Names(), plan, {.ops = &CpuOps(), .type = type});
    ASSERT_TRUE(memory.ok()) << memory.status();
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const std::vector<float> row = PackedRow(packed, static_cast<uint32_t>(r - rows.begin));
      for (int64_t c = cols.begin; c < cols.end; ++c) {
        float expected = values[r * kCols + c] * scales[r / 4 * 3 + c / 3];
        if (type == DType::kBF16) expected = WidenBf16(RoundToBf16(expected));
        if (type == DType::kF16) expected = WidenF16(RoundToF16(expected));
        EXPECT_EQ(row[c - cols.begin], expected) << r << " " << c;
      }
    }
  };
  for (const DType type : {DType::kF32, DType::kBF16, DType::kF16}) {
    check({0, kRows}, {0, kCols}, type);
    for (int64_t cut = 1; cut < kRows; ++cut) {
      check({0, cut}, {0, kCols}, type);
      check({cut, kRows}, {0, kCols}, type);
    }
    for (int64_t cut = 1; cut < kCols; ++cut) {
      check({0, kRows}, {0, cut}, type);
      check({0, kRows}, {cut, kCols}, type);
    }
  }
}

// One scale for all, one for each row, in several types and shapes; blocks may be named beside.
TEST(Float8, ScalesOfRowsAndTensors) {
  std::vector<float> values;
  const TestTensor matrix = RandomMatrix(values);
  std::vector<uint16_t> halves;
  std::vector<float> scales = RandomScales(kRows);
  for (float& scale : scales) {
    halves.push_back(RoundToBf16(scale));
    scale = WidenBf16(halves.back());
  }
  const std::string one = Bytes(std::vector<float>{scales[0]});
  const std::string config = R"({"quantization_config": {"quant_method": "compressed-tensors",
      "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8,
      "type": "float", "strategy": "channel"}}}, "ignore": ["lm_head"]}})";
  for (const auto& [scale, by_row] :
       {std::pair{TestTensor{"blk.0.k.weight_scale", "BF16", {kRows, 1}, Bytes(halves)}, true},
        {{"blk.0.k.weight_scale", "F32", {kRows}, Bytes(scales)}, true},
        {{"blk.0.k.weight_scale", "F32", {1}, one}, false},
        {{"blk.0.k.weight_scale_inv", "F32", {}, one}, false}}) {
    const auto checkpoint = OpenWritten({matrix,
                                         scale,
                                         {"blk.0.k.input_scale", "F32", {1}, one},
                                         Counting("blk.1.k.weight", {2, 2})},
                                        config);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    WeightPlan plan;
    Packed packed, plain;
    plan.Matrix(&packed, {Slot("0.k.weight", {kRows, kCols})});
    plan.Matrix(&plain, {Slot("1.k.weight", {2, 2})});
    const auto memory = LoadWeights(**checkpoint, Names(), plan, {.ops = &CpuOps()});
    ASSERT_TRUE(memory.ok()) << memory.status();
    for (int64_t r = 0; r < kRows; ++r) {
      const std::vector<float> row = PackedRow(packed, static_cast<uint32_t>(r));
      for (int64_t c = 0; c < kCols; ++c) {
        EXPECT_EQ(row[c], values[r * kCols + c] * scales[by_row ? r : 0]);
      }
    }
    EXPECT_EQ(PackedRow(plain, 1), (std::vector<float>{2, 3}));
  }
}

TEST(Float8, MatricesOfHeadsAndTransposedOnes) {
  std::vector<float> values;
  const TestTensor matrix = RandomMatrix(values);
  const std::vector<float> scales = RandomScales(9);
  const auto checkpoint = OpenWritten(
      {matrix, {"blk.0.k.weight_scale_inv", "F32", {3, 3}, Bytes(scales)}}, kBlocksOf4x3);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const NameTable names{
      .rules = {{.slot = "*.a", .joined = "blk.*.k", .fusion = Fusion::kByExpertTransposed}}};
  WeightPlan plan;
  Packed packed;
  WeightSlot slot = Slot("0.a.weight", {kCols, 6});
  slot.expert = {.index = 0, .count = 1, .rows = kRows, .first = 3};
  plan.Matrix(&packed, {slot});
  const auto memory = LoadWeights(**checkpoint, names, plan, {.ops = &CpuOps()});
  ASSERT_TRUE(memory.ok()) << memory.status();
  for (int64_t c = 0; c < kCols; ++c) {
    const std::vector<float> row = PackedRow(packed, static_cast<uint32_t>(c));
    for (int64_t r = 3; r < 9; ++r) {
      EXPECT_EQ(row[r - 3], values[r * kCols + c] * scales[r / 4 * 3 + c / 3]);
    }
  }
}

TEST(Float8, ScalesOfOtherShapesAndTypesAreErrors) {
  std::vector<float> values;
  const TestTensor matrix = RandomMatrix(values);
  const auto error = [&](const TestTensor& scale, const char* config) {
    const std::string text = Message(OpenWritten({matrix, scale}, config).status());
    const size_t at = text.find(": ");
    return at == text.npos ? text : text.substr(at + 2);
  };
  const std::string name = "blk.0.k.weight_scale_inv";
  EXPECT_EQ(error({name, "F32", {3, 2}, Bytes(RandomScales(6))}, kBlocksOf4x3),
            "wrong shapes: " + name + " is [3, 2], not [3, 3], one number or [11, 1]");
  EXPECT_EQ(error({name, "F32", {3, 3}, Bytes(RandomScales(9))}, kNoBlocks),
            "wrong shapes: " + name + " is [3, 3], not one number or [11, 1]");
  EXPECT_EQ(error({name, "F8_E8M0", {3, 3}, std::string(9, 'x')}, kBlocksOf4x3),
            "types that are not read: " + name + " is F8_E8M0");
}

TEST(Float8, WithoutScalesNothingIsRead) {
  std::vector<float> values;
  const TestTensor matrix = RandomMatrix(values);
  const TestTensor spare = Counting("blk.1.k.weight_scale", {1});
  WeightPlan plan;
  Packed packed;
  plan.Matrix(&packed, {Slot("0.k.weight", {kRows, kCols})});
  const auto error = [&](const char* config) {
    const auto checkpoint = OpenWritten({matrix, spare}, config);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    return Message(LoadWeights(**checkpoint, Names(), plan, {.ops = &CpuOps()}).status());
  };
  for (const auto& [config, type] :
       {std::pair{kNoBlocks, "F8_E4M3 without scales"}, {"{}", "F8_E4M3"}}) {
    const std::string text = error(config);
    EXPECT_NE(text.find("unused tensors: blk.1.k.weight_scale; "), text.npos) << text;
    EXPECT_TRUE(text.ends_with(Cat("are): blk.0.k.weight is ", type))) << text;
  }
}

// What config.json says, of the error all behind the file's name.
std::string Quantisation(const std::string& json) {
  const auto config = HfConfig::Parse(Cat(R"({"quantization_config": )", json, "}"), "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  const auto blocks = ReadQuantisation(**config);
  if (!blocks.ok()) return Message(blocks.status());
  return *blocks ? Cat((*blocks)->rows, " x ", (*blocks)->cols) : std::string("none");
}

std::string Compressed(const std::string& weights, const std::string& more = "") {
  return Quantisation(Cat(R"({"quant_method": "compressed-tensors", "config_groups": {"group_0":
      {"weights": )",
                          weights, "}}", more, "}"));
}

TEST(Quantisation, WhatIsRead) {
  EXPECT_EQ(Quantisation("null"), "none");
  EXPECT_EQ(Quantisation(R"({"quant_method": "fp8", "weight_block_size": [128, 64]})"), "128 x 64");
  EXPECT_EQ(Quantisation(R"({"quant_method": "fp8", "weight_block_size": null})"), "0 x 0");
  EXPECT_EQ(Quantisation(R"({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0})"),
            "0 x 0");
  EXPECT_EQ(Compressed(R"({"num_bits": 8, "type": "float", "block_structure": [128, 128]})"),
            "128 x 128");
  EXPECT_EQ(Compressed(R"({"num_bits": 8, "type": "float", "strategy": "tensor"})",
                       R"(, "transform_config": {})"),
            "0 x 0");
}

TEST(Quantisation, OthersAreOneLine) {
  const auto refused = [](const std::string& method) {
    return Cat("config.json: quantization_config.quant_method ", method,
               " is not read: fp8, fbgemm_fp8 and compressed-tensors with floats of eight bits "
               "are; otherwise give the unquantised checkpoint or a GGUF file");
  };
  for (const char* method : {"gptq", "awq", "bitsandbytes", "mxfp4", ""}) {
    EXPECT_EQ(Quantisation(Cat(R"({"bits": 4, "quant_method": ")", method, "\"}")),
              refused(Cat("'", method, "'")));
  }
  for (const char* weights :
       {R"({"num_bits": 4, "type": "int"})", R"({"num_bits": 8, "type": "int"})",
        R"({"num_bits": 4, "type": "float"})", "null"}) {
    EXPECT_EQ(Compressed(weights), refused("'compressed-tensors' with other weights"));
  }
  EXPECT_EQ(Compressed(R"({"num_bits": 8, "type": "float"})",
                       R"(, "transform_config": {"config_groups": {"R4": {}}})"),
            refused("'compressed-tensors' with transforms"));
  EXPECT_EQ(Quantisation("{}"), "config.json: missing keys: quantization_config.quant_method");
  EXPECT_EQ(Quantisation("1"), "config.json: missing keys: quantization_config.quant_method");
  for (const char* size : {"[128]", "[128, 0]", "[1.5, 2]", "[1e9, 1]"}) {
    EXPECT_EQ(Quantisation(Cat(R"({"quant_method": "fp8", "weight_block_size": )", size, "}")),
              "config.json: quantization_config.weight_block_size is not a list of two sizes");
  }
  EXPECT_EQ(Quantisation(R"({"quant_method": 8})"),
            "config.json: quantization_config.quant_method is not a string");
}

}  // namespace
}  // namespace shardline
