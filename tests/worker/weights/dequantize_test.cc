// tests/golden/dequantize.safetensors: random bytes of every stored type and what the Python
// package gguf makes of them.
#include "worker/weights/dequantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <vector>

#include "shared/format/safetensors.h"

namespace shardline {
namespace {

struct Kind {
  const char* name;
  StoredType type;
};
constexpr Kind kKinds[] = {
    {"F32", StoredType::kF32},   {"F16", StoredType::kF16},   {"BF16", StoredType::kBF16},
    {"Q4_0", StoredType::kQ4_0}, {"Q4_1", StoredType::kQ4_1}, {"Q5_0", StoredType::kQ5_0},
    {"Q5_1", StoredType::kQ5_1}, {"Q8_0", StoredType::kQ8_0}, {"Q2_K", StoredType::kQ2_K},
    {"Q3_K", StoredType::kQ3_K}, {"Q4_K", StoredType::kQ4_K}, {"Q5_K", StoredType::kQ5_K},
    {"Q6_K", StoredType::kQ6_K}};

class Dequantization : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    const std::string path = SHARDLINE_SOURCE_DIR "/tests/golden/dequantize.safetensors";
    file_.resize(std::filesystem::file_size(path));
    std::ifstream(path, std::ios::binary).read(file_.data(), static_cast<int64_t>(file_.size()));
    auto parsed = SafetensorsCheckpoint::Parse(std::as_bytes(std::span(file_)), path);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    const auto& fixture = **parsed;
    bytes_ = fixture.Find(std::string(GetParam().name) + ".bytes")->data;
    const auto bits = fixture.Find(std::string(GetParam().name) + ".f32_bits")->data;
    expected_.resize(bits.size() / sizeof(uint32_t));
    std::memcpy(expected_.data(), bits.data(), bits.size());
  }
  int64_t count() const { return static_cast<int64_t>(expected_.size()); }

  std::vector<char> file_;
  std::span<const std::byte> bytes_;
  std::vector<uint32_t> expected_;  // the bits of f32 values
};

TEST_P(Dequantization, EqualsThePythonPackageToTheBit) {
  const StoredBlock block = BlockOf(GetParam().type);
  ASSERT_EQ(static_cast<int64_t>(bytes_.size()) / block.bytes * block.elements, count());
  std::vector<uint32_t> got(count());
  Dequantize(GetParam().type, bytes_.data(), count(), DType::kF32, got.data());
  for (int64_t i = 0; i < count(); ++i) {
    ASSERT_EQ(got[i], expected_[i]) << GetParam().name << " element " << i;
  }
}

TEST_P(Dequantization, ToBf16IsTheF32ValueRounded) {
  std::vector<uint16_t> got(count());
  Dequantize(GetParam().type, bytes_.data(), count(), DType::kBF16, got.data());
  for (int64_t i = 0; i < count(); ++i) {
    const auto x = __builtin_bit_cast(float, expected_[i]);
    const float rounded = WidenBf16(got[i]);
    if (std::isnan(x)) {
      ASSERT_TRUE(std::isnan(rounded));
      continue;
    }
    if (std::isinf(rounded)) continue;  // beyond the largest bf16, or infinite already
    // No other bf16 is nearer.
    for (int step : {-1, 1}) {
      const float neighbour = WidenBf16(static_cast<uint16_t>(got[i] + step));
      if (!std::isfinite(neighbour) || std::signbit(neighbour) != std::signbit(rounded)) continue;
      ASSERT_LE(std::abs(double{x} - rounded), std::abs(double{x} - neighbour));
    }
  }
}

TEST_P(Dequantization, AnyAlignmentGivesTheSame) {
  std::vector<std::byte> shifted(bytes_.size() + 1);
  std::memcpy(shifted.data() + 1, bytes_.data(), bytes_.size());
  std::vector<uint32_t> got(count());
  Dequantize(GetParam().type, shifted.data() + 1, count(), DType::kF32, got.data());
  EXPECT_EQ(got, expected_);
}

INSTANTIATE_TEST_SUITE_P(Types, Dequantization, testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

TEST(RoundToBf16, TiesGoToEven) {
  const auto rounded = [](uint32_t bits) { return RoundToBf16(__builtin_bit_cast(float, bits)); };
  EXPECT_EQ(rounded(0x3f808000u), 0x3f80);  // half way, down to even
  EXPECT_EQ(rounded(0x3f818000u), 0x3f82);  // half way, up to even
  EXPECT_EQ(rounded(0x3f808001u), 0x3f81);
  EXPECT_EQ(rounded(0x7f7fffffu), 0x7f80);           // the largest f32 is beyond the largest bf16
  EXPECT_EQ(rounded(0x7f800001u) & 0x7fc0, 0x7fc0);  // a NaN does not become infinity
  EXPECT_EQ(rounded(0x80000000u), 0x8000);
}

TEST(WidenF16, EveryFiniteValueIsExact) {
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const int exponent = static_cast<int>(bits >> 10);
    const double expected = exponent == 0 ? std::ldexp(bits & 0x3ff, -24)
                                          : std::ldexp(1024 + (bits & 0x3ff), exponent - 25);
    ASSERT_EQ(WidenF16(static_cast<uint16_t>(bits)), expected);
    ASSERT_EQ(WidenF16(static_cast<uint16_t>(bits | 0x8000)), -expected);
  }
  EXPECT_EQ(WidenF16(0x7c00), std::numeric_limits<float>::infinity());
  EXPECT_EQ(WidenF16(0xfc00), -std::numeric_limits<float>::infinity());
}

}  // namespace
}  // namespace shardline
