// Reads stored numbers block by block.
#include "worker/weights/dequantize.h"

#include <cstring>

#include "worker/weights/k_quants.h"

namespace shardline {
namespace {

template <typename T>
T Read(const std::byte* in) {
  T value;
  std::memcpy(&value, in, sizeof(value));
  return value;
}

// 32 elements to a block; the low nibbles are the first 16, the high nibbles the last 16.
constexpr int kBlock = 32;

void WidenQ4_0(const std::byte* in, float* out) {
  const float scale = WidenF16(Read<uint16_t>(in));
  const auto* quants = reinterpret_cast<const uint8_t*>(in + 2);
  for (int i = 0; i < kBlock / 2; ++i) {
    out[i] = scale * static_cast<float>((quants[i] & 15) - 8);
    out[i + kBlock / 2] = scale * static_cast<float>((quants[i] >> 4) - 8);
  }
}

void WidenQ4_1(const std::byte* in, float* out) {
  const float scale = WidenF16(Read<uint16_t>(in));
  const float least = WidenF16(Read<uint16_t>(in + 2));
  const auto* quants = reinterpret_cast<const uint8_t*>(in + 4);
  for (int i = 0; i < kBlock / 2; ++i) {
    out[i] = scale * static_cast<float>(quants[i] & 15) + least;
    out[i + kBlock / 2] = scale * static_cast<float>(quants[i] >> 4) + least;
  }
}

// The fifth bits of all elements stand in one word before the nibbles.
void WidenQ5(const std::byte* in, float scale, int offset, float least, float* out) {
  const auto fifth = Read<uint32_t>(in);
  const auto* quants = reinterpret_cast<const uint8_t*>(in + 4);
  for (int i = 0; i < kBlock / 2; ++i) {
    const auto low = static_cast<int>((quants[i] & 15u) | (fifth >> i & 1u) << 4);
    const auto high = static_cast<int>((quants[i] >> 4) | (fifth >> (i + kBlock / 2) & 1u) << 4);
    out[i] = scale * static_cast<float>(low - offset) + least;
    out[i + kBlock / 2] = scale * static_cast<float>(high - offset) + least;
  }
}

void WidenQ5_0(const std::byte* in, float* out) {
  WidenQ5(in + 2, WidenF16(Read<uint16_t>(in)), 16, -0.0f, out);  // x + -0 is x, to the bit
}

void WidenQ5_1(const std::byte* in, float* out) {
  WidenQ5(in + 4, WidenF16(Read<uint16_t>(in)), 0, WidenF16(Read<uint16_t>(in + 2)), out);
}

void WidenQ8_0(const std::byte* in, float* out) {
  const float scale = WidenF16(Read<uint16_t>(in));
  const auto* quants = reinterpret_cast<const int8_t*>(in + 2);
  for (int i = 0; i < kBlock; ++i) out[i] = scale * static_cast<float>(quants[i]);
}

// Four bits of exponent and three of mantissa; no infinity, and the largest magnitude is a NaN.
// https://arxiv.org/abs/2209.05433
float WidenE4M3(uint8_t bits) {
  const uint32_t magnitude = bits & 0x7fu, sign = uint32_t{bits & 0x80u} << 24;
  const uint32_t wide = magnitude == 0x7fu ? 0x7fc00000u : magnitude << 20;
  // The exponent's bias rises from 7 to 127, also for subnormals.
  const float value = __builtin_bit_cast(float, wide) * 0x1p120f;
  return __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, value) | sign);
}

// A run of at most kSuperBlock elements: one block where the type has blocks.
void WidenRun(StoredType type, const std::byte* in, int64_t count, float* out) {
  switch (type) {
    case StoredType::kF32:
      std::memcpy(out, in, count * sizeof(float));
      return;
    case StoredType::kF16:
      for (int64_t i = 0; i < count; ++i) out[i] = WidenF16(Read<uint16_t>(in + 2 * i));
      return;
    case StoredType::kBF16:
      for (int64_t i = 0; i < count; ++i) out[i] = WidenBf16(Read<uint16_t>(in + 2 * i));
      return;
    case StoredType::kQ4_0:
      return WidenQ4_0(in, out);
    case StoredType::kQ4_1:
      return WidenQ4_1(in, out);
    case StoredType::kQ5_0:
      return WidenQ5_0(in, out);
    case StoredType::kQ5_1:
      return WidenQ5_1(in, out);
    case StoredType::kQ8_0:
      return WidenQ8_0(in, out);
    case StoredType::kQ2_K:
      return WidenQ2K(in, out);
    case StoredType::kQ3_K:
      return WidenQ3K(in, out);
    case StoredType::kQ4_K:
      return WidenQ4K(in, out);
    case StoredType::kQ5_K:
      return WidenQ5K(in, out);
    case StoredType::kQ6_K:
      return WidenQ6K(in, out);
    case StoredType::kF8E4M3:
      for (int64_t i = 0; i < count; ++i) out[i] = WidenE4M3(Read<uint8_t>(in + i));
      return;
    case StoredType::kOther:
      return;
  }
}

}  // namespace

StoredBlock BlockOf(StoredType type) {
  switch (type) {
    case StoredType::kF32:
      return {1, 4};
    case StoredType::kF16:
    case StoredType::kBF16:
      return {1, 2};
    case StoredType::kQ4_0:
      return {kBlock, 18};
    case StoredType::kQ4_1:
      return {kBlock, 20};
    case StoredType::kQ5_0:
      return {kBlock, 22};
    case StoredType::kQ5_1:
      return {kBlock, 24};
    case StoredType::kQ8_0:
      return {kBlock, 34};
    case StoredType::kQ2_K:
      return {kSuperBlock, 84};
    case StoredType::kQ3_K:
      return {kSuperBlock, 110};
    case StoredType::kQ4_K:
      return {kSuperBlock, 144};
    case StoredType::kQ5_K:
      return {kSuperBlock, 176};
    case StoredType::kQ6_K:
      return {kSuperBlock, 210};
    case StoredType::kF8E4M3:
      return {1, 1};
    case StoredType::kOther:
      break;
  }
  return {1, 0};
}

void Dequantize(StoredType type, const std::byte* in, int64_t count, DType out_type, void* out,
                float scale) {
  const StoredBlock block = BlockOf(type);
  if (scale == 1 && ((type == StoredType::kBF16 && out_type == DType::kBF16) ||
                     (type == StoredType::kF16 && out_type == DType::kF16))) {
    std::memcpy(out, in, count * 2);
    return;
  }
  auto* floats = static_cast<float*>(out);
  auto* halves = static_cast<uint16_t*>(out);
  const auto round = out_type == DType::kBF16 ? RoundToBf16 : RoundToF16;
  float run[kSuperBlock];
  const int64_t step = block.elements > 1 ? block.elements : kSuperBlock;
  for (int64_t i = 0; i < count; i += step) {
    const int64_t n = count - i < step ? count - i : step;
    const std::byte* from = in + i / block.elements * block.bytes;
    float* const wide = out_type == DType::kF32 ? floats + i : run;
    WidenRun(type, from, n, wide);
    if (scale != 1) {
      for (int64_t j = 0; j < n; ++j) wide[j] *= scale;
    }
    if (out_type == DType::kF32) continue;
    for (int64_t j = 0; j < n; ++j) halves[i + j] = round(run[j]);
  }
}

}  // namespace shardline
