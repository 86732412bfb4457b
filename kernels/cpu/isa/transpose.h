// Sixteen rows of sixteen 32-bit lanes, transposed in registers; and from it the panels that the
// tiles read.
#pragma once

#include <type_traits>

#include "kernels/cpu/isa/simd.h"

namespace shardline::SHARDLINE_ISA {

#if defined(__AVX512F__)

SL_INLINE void Transpose(F32x16 (&row)[16]) {
  __m512i pair[16], quad[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    const __m512i a = _mm512_castps_si512(row[i]), b = _mm512_castps_si512(row[i + 1]);
    pair[i] = _mm512_unpacklo_epi32(a, b);
    pair[i + 1] = _mm512_unpackhi_epi32(a, b);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16;
       i += 4) {  // quad[4g + c]: columns c, c + 4, c + 8, c + 12 of rows 4g to 4g + 3
    quad[i] = _mm512_unpacklo_epi64(pair[i], pair[i + 2]);
    quad[i + 1] = _mm512_unpackhi_epi64(pair[i], pair[i + 2]);
    quad[i + 2] = _mm512_unpacklo_epi64(pair[i + 1], pair[i + 3]);
    quad[i + 3] = _mm512_unpackhi_epi64(pair[i + 1], pair[i + 3]);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512i low02 = _mm512_shuffle_i32x4(quad[c], quad[4 + c], 0x88);
    const __m512i low13 = _mm512_shuffle_i32x4(quad[c], quad[4 + c], 0xdd);
    const __m512i high02 = _mm512_shuffle_i32x4(quad[8 + c], quad[12 + c], 0x88);
    const __m512i high13 = _mm512_shuffle_i32x4(quad[8 + c], quad[12 + c], 0xdd);
    row[c] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(low02, high02, 0x88));
    row[4 + c] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(low13, high13, 0x88));
    row[8 + c] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(low02, high02, 0xdd));
    row[12 + c] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(low13, high13, 0xdd));
  }
}

#elif defined(__AVX2__)

SL_INLINE void TransposeEight(__m256 (&row)[8]) {
  __m256 pair[8], quad[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    pair[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
    pair[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    quad[i] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0x44);
    quad[i + 1] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0xee);
    quad[i + 2] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
    quad[i + 3] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    row[c] = _mm256_permute2f128_ps(quad[c], quad[4 + c], 0x20);
    row[4 + c] = _mm256_permute2f128_ps(quad[c], quad[4 + c], 0x31);
  }
}

SL_INLINE void Transpose(F32x16 (&row)[16]) {
  __m256 top_left[8], top_right[8], bottom_left[8], bottom_right[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    top_left[i] = row[i].a, top_right[i] = row[i].b;
    bottom_left[i] = row[i + 8].a, bottom_right[i] = row[i + 8].b;
  }
  TransposeEight(top_left), TransposeEight(top_right);
  TransposeEight(bottom_left), TransposeEight(bottom_right);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    row[i] = {top_left[i], bottom_left[i]};
    row[i + 8] = {top_right[i], bottom_right[i]};
  }
}

#else

SL_INLINE void Transpose(F32x16 (&row)[16]) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < i; ++j) {
      const float kept = row[i].lane[j];
      row[i].lane[j] = row[j].lane[i];
      row[j].lane[i] = kept;
    }
  }
}

#endif

// out[i * count + r] = rows[r][i] for i < length. count <= 16 rows of f32, of bf16 (widened to
// f32), of f16 (the same), or of pairs of bf16 (kept).
template <typename T>
void Interleave(const T* const* rows, int64_t count, int64_t length, float* out) {
  for (int64_t first = 0; first < length; first += 16) {
    const int64_t n = Least<int64_t>(16, length - first);
    if (count == 1) {  // a row alone is in order: an expert's only token, a sequence's next
      StoreN(out + first, LoadN(rows[0] + first, n), n);
      continue;
    }
    F32x16 tile[16];
#pragma GCC unroll 16
    for (int64_t r = 0; r < 16; ++r) tile[r] = r < count ? LoadN(rows[r] + first, n) : Zero();
    Transpose(tile);
    float* to = out + first * count;
    if (count == 16 && n == 16) {
#pragma GCC unroll 16
      for (int64_t i = 0; i < 16; ++i) Store(to + i * 16, tile[i]);
    } else {
#pragma GCC unroll 16
      for (int64_t i = 0; i < 16; ++i) {
        if (i < n) StoreN(to + i * count, tile[i], count);
      }
    }
  }
}

// A panel of rows of k values: [depth][count] f32, or [depth / 2][count][2] bf16 if `pairs` (then T
// is bf16). depth is k rounded up to even; what stands beyond k is zero.
template <typename T>
void PackPanel(const T* const* rows, int64_t count, int64_t k, bool pairs, float* out) {
  if constexpr (std::is_same_v<T, const Bf16> || std::is_same_v<T, Bf16>) {
    if (pairs) {
      const Bf16Pair* words[16] = {};
      for (int64_t r = 0; r < count; ++r) words[r] = reinterpret_cast<const Bf16Pair*>(rows[r]);
      Interleave(words, count, k / 2, out);
      for (int64_t r = 0; r < count && k % 2 != 0; ++r) {
        const uint32_t last = rows[r][k - 1].bits;
        __builtin_memcpy(out + k / 2 * count + r, &last, 4);
      }
      return;
    }
  }
  Interleave(rows, count, k, out);
  for (int64_t r = 0; r < count && k % 2 != 0; ++r) out[k * count + r] = 0.0f;
}

}  // namespace shardline::SHARDLINE_ISA
