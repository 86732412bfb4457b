// Sixteen f32 lanes in the registers of the instruction set that this file is compiled for, and the
// conversions of the 16-bit types. The files in this folder are compiled once per instruction set
// into a namespace of its own (SHARDLINE_ISA), so no function of a wider instruction set can
// replace one of a narrower at link time; for the same reason they call nothing inline from outside
// the namespace.
#pragma once

#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define SL_INLINE inline __attribute__((always_inline))

namespace shardline::SHARDLINE_ISA {

struct Bf16 {
  uint16_t bits;
};

struct F16 {
  uint16_t bits;
};

// Two neighbours, moved as one 32-bit lane.
struct Bf16Pair {
  Bf16 first, second;
};

SL_INLINE float ToFloat(float x) { return x; }
SL_INLINE float ToFloat(Bf16 x) { return __builtin_bit_cast(float, uint32_t{x.bits} << 16); }

// To nearest, ties to even; a NaN stays a (quiet) NaN.
SL_INLINE Bf16 ToBf16(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40u;
  return Bf16{static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded)};
}

// Without branches, so that loops over either become vectors. The product is exact: it moves the
// exponent's bias from 15 to 127.
SL_INLINE float ToFloat(F16 x) {
  const uint32_t magnitude = uint32_t{x.bits & 0x7fffu};
  const uint32_t bits =
      __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude << 13) * 0x1p112f);
  const uint32_t special = magnitude >= 0x7c00u ? 0x7f800000u : 0u;  // infinity, NaN
  return __builtin_bit_cast(float, bits | special | uint32_t{x.bits & 0x8000u} << 16);
}

// To nearest, ties to even; from 65520 on infinity; a NaN stays a (quiet) NaN.
SL_INLINE F16 ToF16(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  // Adding a half rounds to multiples of 2^-24, what subnormals are made of.
  const float shifted = __builtin_bit_cast(float, magnitude) + 0.5f;
  const uint32_t subnormal = __builtin_bit_cast(uint32_t, shifted) - 0x3f000000u;
  uint32_t out = magnitude >= 0x38800000u ? normal : subnormal;
  out = magnitude >= 0x47800000u ? 0x7c00u : out;
  out = magnitude > 0x7f800000u ? 0x7e00u : out;
  return F16{static_cast<uint16_t>(out | ((bits >> 16) & 0x8000u))};
}

SL_INLINE void Put(float* out, float x) { *out = x; }
SL_INLINE void Put(Bf16* out, float x) { *out = ToBf16(x); }
SL_INLINE void Put(F16* out, float x) { *out = ToF16(x); }
// x as an element of type T holds it.
template <typename T>
SL_INLINE float Rounded(float x) {
  T out;
  Put(&out, x);
  return ToFloat(out);
}

template <typename T>
SL_INLINE T Least(T a, T b) {
  return b < a ? b : a;
}

// a * b + c: fused where the instruction set has it, two roundings where it has not.
SL_INLINE float MulAdd(float a, float b, float c) {
#if defined(__FMA__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

#if defined(__AVX512F__)

using F32x16 = __m512;
SL_INLINE F32x16 Zero() { return _mm512_setzero_ps(); }
SL_INLINE F32x16 Set1(float x) { return _mm512_set1_ps(x); }
SL_INLINE F32x16 Load(const float* p) { return _mm512_loadu_ps(p); }
SL_INLINE void Store(float* p, F32x16 a) { _mm512_storeu_ps(p, a); }
// The first `n` of sixteen lanes; lanes beyond are zero, memory beyond is not touched.
SL_INLINE __mmask16 FirstLanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
SL_INLINE F32x16 LoadN(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(FirstLanes(n), p);
}
SL_INLINE F32x16 LoadN(const Bf16Pair* p, int64_t n) {
  return _mm512_maskz_loadu_ps(FirstLanes(n), p);
}
SL_INLINE F32x16 LoadN(const Bf16* p, int64_t n) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(FirstLanes(n), p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
SL_INLINE F32x16 LoadN(const F16* p, int64_t n) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(FirstLanes(n), p));
}
SL_INLINE F32x16 Load(const F16* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
SL_INLINE void StoreN(float* p, F32x16 a, int64_t n) { _mm512_mask_storeu_ps(p, FirstLanes(n), a); }
SL_INLINE F32x16 MulAdd(F32x16 a, F32x16 b, F32x16 c) { return _mm512_fmadd_ps(a, b, c); }
// Sixteen pairs of bf16: the first and the second element of every pair.
SL_INLINE F32x16 LoadFirst(const Bf16* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}
SL_INLINE F32x16 LoadSecond(const Bf16* p) {
  return _mm512_castsi512_ps(
      _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}

#elif defined(__AVX2__)

struct F32x16 {
  __m256 a, b;
};
SL_INLINE F32x16 Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
SL_INLINE F32x16 Set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
SL_INLINE F32x16 Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
SL_INLINE void Store(float* p, F32x16 x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
SL_INLINE F32x16 LoadLanes(const void* p, int64_t n) {
  alignas(32) float all[16] = {};
  __builtin_memcpy(all, p, static_cast<uint64_t>(n) * 4);
  return Load(all);
}
SL_INLINE F32x16 LoadN(const float* p, int64_t n) { return n == 16 ? Load(p) : LoadLanes(p, n); }
SL_INLINE F32x16 LoadN(const Bf16Pair* p, int64_t n) {
  if (n < 16) return LoadLanes(p, n);
  const auto* lanes = reinterpret_cast<const __m256i_u*>(p);
  return {_mm256_castsi256_ps(_mm256_loadu_si256(lanes)),
          _mm256_castsi256_ps(_mm256_loadu_si256(lanes + 1))};
}
SL_INLINE F32x16 LoadN(const Bf16* p, int64_t n) {
  alignas(32) uint16_t all[16] = {};
  if (n < 16) {
    for (int64_t i = 0; i < n; ++i) all[i] = p[i].bits;
    p = reinterpret_cast<const Bf16*>(all);
  }
  const auto widen = [](const Bf16* from) {
    const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16));
  };
  return {widen(p), widen(p + 8)};
}
SL_INLINE F32x16 Load(const F16* p) {
  const auto widen = [](const F16* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  };
  return {widen(p), widen(p + 8)};
}
SL_INLINE F32x16 LoadN(const F16* p, int64_t n) {
  if (n == 16) return Load(p);
  alignas(32) F16 all[16] = {};
  for (int64_t i = 0; i < n; ++i) all[i] = p[i];
  return Load(all);
}
SL_INLINE void StoreN(float* p, F32x16 x, int64_t n) {
  if (n == 16) return Store(p, x);
  alignas(32) float all[16];
  Store(all, x);
  for (int64_t i = 0; i < n; ++i) p[i] = all[i];
}
SL_INLINE F32x16 MulAdd(F32x16 x, F32x16 y, F32x16 z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
SL_INLINE __m256i LoadBits(const Bf16* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
SL_INLINE F32x16 LoadFirst(const Bf16* p) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(LoadBits(p), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(LoadBits(p + 16), 16))};
}
SL_INLINE F32x16 LoadSecond(const Bf16* p) {
  const __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(LoadBits(p), high)),
          _mm256_castsi256_ps(_mm256_and_si256(LoadBits(p + 16), high))};
}

#else

struct F32x16 {
  float lane[16];
};
SL_INLINE F32x16 Set1(float x) {
  F32x16 out;
  for (float& lane : out.lane) lane = x;
  return out;
}
SL_INLINE F32x16 Zero() { return Set1(0.0f); }
SL_INLINE F32x16 Load(const float* p) {
  F32x16 out;
  __builtin_memcpy(out.lane, p, 64);
  return out;
}
SL_INLINE void Store(float* p, const F32x16& a) { __builtin_memcpy(p, a.lane, 64); }
SL_INLINE F32x16 LoadLanes(const void* p, int64_t n) {
  F32x16 out = Zero();
  __builtin_memcpy(out.lane, p, static_cast<uint64_t>(n) * 4);
  return out;
}
SL_INLINE F32x16 LoadN(const float* p, int64_t n) { return LoadLanes(p, n); }
SL_INLINE F32x16 LoadN(const Bf16Pair* p, int64_t n) { return LoadLanes(p, n); }
SL_INLINE F32x16 LoadN(const Bf16* p, int64_t n) {
  F32x16 out = Zero();
  for (int64_t i = 0; i < n; ++i) out.lane[i] = ToFloat(p[i]);
  return out;
}
SL_INLINE F32x16 LoadN(const F16* p, int64_t n) {
  F32x16 out = Zero();
  for (int64_t i = 0; i < n; ++i) out.lane[i] = ToFloat(p[i]);
  return out;
}
SL_INLINE F32x16 Load(const F16* p) { return LoadN(p, 16); }
SL_INLINE void StoreN(float* p, const F32x16& a, int64_t n) {
  __builtin_memcpy(p, a.lane, static_cast<uint64_t>(n) * 4);
}
SL_INLINE F32x16 MulAdd(const F32x16& a, const F32x16& b, const F32x16& c) {
  F32x16 out;
  for (int i = 0; i < 16; ++i) out.lane[i] = MulAdd(a.lane[i], b.lane[i], c.lane[i]);
  return out;
}
SL_INLINE F32x16 LoadFirst(const Bf16* p) {
  F32x16 out;
  for (int i = 0; i < 16; ++i) out.lane[i] = ToFloat(p[2 * i]);
  return out;
}
SL_INLINE F32x16 LoadSecond(const Bf16* p) {
  F32x16 out;
  for (int i = 0; i < 16; ++i) out.lane[i] = ToFloat(p[2 * i + 1]);
  return out;
}

#endif

// The sum of sixteen lanes in one fixed order.
SL_INLINE float SumLanes(const float* lane) {
  float eight[8], four[4];
  for (int i = 0; i < 8; ++i) eight[i] = lane[i] + lane[i + 8];
  for (int i = 0; i < 4; ++i) four[i] = eight[i] + eight[i + 4];
  return (four[0] + four[2]) + (four[1] + four[3]);
}

}  // namespace shardline::SHARDLINE_ISA
