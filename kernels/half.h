// The two 16-bit float types as bits, for code of the baseline instruction set: loading, packing,
// tests. Kernels have their own (kernels/cpu/isa/simd.h), to the same bits.
#pragma once

#include <cstdint>

namespace shardline {

inline float WidenBf16(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  return __builtin_bit_cast(float, wide);
}

// To nearest, ties to even; a NaN stays a NaN.
inline uint16_t RoundToBf16(float x) {
  const auto bits = __builtin_bit_cast(uint32_t, x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

inline float WidenF16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u) {  // infinity, or NaN with its payload
    return __builtin_bit_cast(float, sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  }
  if (magnitude >= 0x400u) return __builtin_bit_cast(float, sign | ((magnitude + 0x1c000u) << 13));
  const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
  return __builtin_bit_cast(float, sign | __builtin_bit_cast(uint32_t, subnormal));
}

// To nearest, ties to even; from 65520 on infinity; a NaN stays a NaN.
inline uint16_t RoundToF16(float x) {
  const auto bits = __builtin_bit_cast(uint32_t, x);
  const uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude >= 0x38800000u) {  // the exponent's bias falls from 127 to 15
    const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u) - 0x38000000u;
    return static_cast<uint16_t>(sign | rounded >> 13);
  }
  // Adding a half rounds to multiples of 2^-24, what subnormals are made of.
  const float shifted = __builtin_bit_cast(float, magnitude) + 0.5f;
  return static_cast<uint16_t>(sign | (__builtin_bit_cast(uint32_t, shifted) - 0x3f000000u));
}

}  // namespace shardline
