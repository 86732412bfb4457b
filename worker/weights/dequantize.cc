// Reads stored numbers block by block.
#include "worker/weights/dequantize.h"

#include <cstring>

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

void WidenQ8_0(const std::byte* in, float* out) {
  const float scale = WidenF16(Read<uint16_t>(in));
  const auto* quants = reinterpret_cast<const int8_t*>(in + 2);
  for (int i = 0; i < kBlock; ++i) out[i] = scale * static_cast<float>(quants[i]);
}

// A run of at most kBlock elements (exactly kBlock where the type has blocks).
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
    case StoredType::kQ8_0:
      return WidenQ8_0(in, out);
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
    case StoredType::kQ8_0:
      return {kBlock, 34};
    case StoredType::kOther:
      break;
  }
  return {1, 0};
}

float WidenF16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u) {  // infinity, or NaN with its payload
    return __builtin_bit_cast(float, sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  }
  if (magnitude >= 0x400u) return __builtin_bit_cast(float, sign | ((magnitude + 0x1c000u) << 13));
  const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
  return __builtin_bit_cast(float, sign | __builtin_bit_cast(uint32_t, subnormal));
}

uint16_t RoundToBf16(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

void Dequantize(StoredType type, const std::byte* in, int64_t count, DType out_type, void* out) {
  const StoredBlock block = BlockOf(type);
  if (type == StoredType::kBF16 && out_type == DType::kBF16) {
    std::memcpy(out, in, count * 2);
    return;
  }
  auto* floats = static_cast<float*>(out);
  auto* halves = static_cast<uint16_t*>(out);
  float run[kBlock];
  for (int64_t i = 0; i < count; i += kBlock) {
    const int64_t n = count - i < kBlock ? count - i : kBlock;
    const std::byte* from = in + i / block.elements * block.bytes;
    if (out_type == DType::kF32) {
      WidenRun(type, from, n, floats + i);
      continue;
    }
    WidenRun(type, from, n, run);
    for (int64_t j = 0; j < n; ++j) halves[i + j] = RoundToBf16(run[j]);
  }
}

}  // namespace shardline
