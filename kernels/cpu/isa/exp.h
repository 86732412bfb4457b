// e^x and erfc in f32, e^x within 2 units in the last place; the same bits for a value wherever it
// stands in a vector: only IEEE operations without branches, so compilers may vectorise loops over
// it freely.
#pragma once

#include "kernels/cpu/isa/simd.h"

namespace shardline::SHARDLINE_ISA {

// x = n ln 2 + r with |r| <= ln 2 / 2; e^x = 2^n e^r, e^r = 1 + r + r² P(r) with P fitted at
// Chebyshev nodes. Below about -104 the result is 0, above 88.73 infinity; NaN stays NaN.
SL_INLINE float Exp(float x) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  x = x < -105.0f ? -105.0f : x;
  x = x > 90.0f ? 90.0f : x;
  const float shifted = x * 1.44269504f + kShift;
  const float n = shifted - kShift;
  float r = MulAdd(n, -0.693359375f, x);  // exact: the constant has 9 bits
  r = MulAdd(n, 2.12194440e-4f, r);
  float p = 1.39263760e-3f;
  p = MulAdd(p, r, 8.36333308e-3f);
  p = MulAdd(p, r, 4.16665535e-2f);
  p = MulAdd(p, r, 1.66665761e-1f);
  p = MulAdd(p, r, 0.5f);
  const float y = MulAdd(r * r, p, r) + 1.0f;
  // 2^n in two factors, because n may be below -126 or above 127.
  const int32_t exponent = __builtin_bit_cast(int32_t, shifted) - 0x4b400000;
  const int32_t half = exponent >> 1;
  const uint32_t low = static_cast<uint32_t>(half + 127) << 23;
  const uint32_t high = static_cast<uint32_t>(exponent - half + 127) << 23;
  return y * __builtin_bit_cast(float, low) * __builtin_bit_cast(float, high);
}

// tanh x, within about 1e-7; NaN stays NaN.
SL_INLINE float Tanh(float x) { return 1.0f - 2.0f / (1.0f + Exp(2.0f * x)); }

// For z >= 0: t e^(P(t) - z²) with t = 1 / (1 + z / 2), and P fitted to ln(erfc(z) e^z² / t) at
// Chebyshev nodes of z in 0..9.5, where erfc(z) is below all of f32.
SL_INLINE float Erfc(float z) {
  const float t = 1.0f / (1.0f + 0.5f * z);
  float p = 0.140507132f;
  p = MulAdd(p, t, -0.656615853f);
  p = MulAdd(p, t, 1.09943843f);
  p = MulAdd(p, t, -0.619523346f);
  p = MulAdd(p, t, -0.144173503f);
  p = MulAdd(p, t, 0.0354678631f);
  p = MulAdd(p, t, 0.0228741430f);
  p = MulAdd(p, t, 0.389117151f);
  p = MulAdd(p, t, 0.998341441f);
  p = MulAdd(p, t, -1.26543343f);
  return t * Exp(MulAdd(-z, z, p));
}

// ln(1 + e^x) = max(x, 0) + ln(1 + u) with u = e^-|x|, and ln(1 + u) = 2 artanh s, s = u / (2 + u),
// whose series at s <= 1/3 ends below f32's last digit. NaN stays NaN.
SL_INLINE float Softplus(float x) {
  const float magnitude = x < 0.0f ? -x : x;
  const float u = Exp(-magnitude);
  const float s = u / (2.0f + u), square = s * s;
  float p = 1.0f / 15;
  p = MulAdd(p, square, 1.0f / 13);
  p = MulAdd(p, square, 1.0f / 11);
  p = MulAdd(p, square, 1.0f / 9);
  p = MulAdd(p, square, 1.0f / 7);
  p = MulAdd(p, square, 1.0f / 5);
  p = MulAdd(p, square, 1.0f / 3);
  const float tail = 2.0f * MulAdd(s * square, p, s);
  return (x > 0.0f ? x : 0.0f) + tail;
}

}  // namespace shardline::SHARDLINE_ISA
