// The register tile of every matrix product, attention's two included: R rows of x times C groups
// of 16 columns, the accumulator of one output element being one lane of one register that sees k
// in ascending order. So a result does not depend on the tile, the thread, or the number of rows;
// and a product may stop at any k and go on from the stored f32 accumulators with the same bits.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/cpu/isa/simd.h"

namespace shardline::SHARDLINE_ISA {

#if defined(__AVX512F__)
inline constexpr int kTileRows = 12;
#elif defined(__AVX2__)
inline constexpr int kTileRows = 6;
#else
inline constexpr int kTileRows = 4;
#endif

struct TileCall {
  const void* x = nullptr;
  const void* w = nullptr;
  int64_t w_group = 0;    // elements from one group of 16 columns to the next
  int64_t steps = 0;      // Product::kDepth values of k each
  float* sums = nullptr;  // [rows, 16 * groups]
  int64_t sums_row = 0;   // floats from one row of sums to the next
  bool resume = false;    // go on from what sums holds
};

// Kinds of product. X, W: element types in memory; kXStep: x elements of one row per step.
// kXRow: 0 if x is a panel [k][rows], otherwise x is [rows, kXRow].

// f32 or f16 weights [k][16].
template <int XRow, typename Weight = float>
struct F32Product {
  using X = float;
  using W = Weight;
  static constexpr int kXStep = 1;
  static constexpr int kXRow = XRow;
  static constexpr int kWStep = 16;  // 32 where weights stand in pairs: their depth is even then
  template <int R, int C>
  static SL_INLINE void Step(const X* x, int64_t x_row, int64_t x_next, const W* w, int64_t w_group,
                             F32x16 (&sum)[R][C]) {
    F32x16 column[C];
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) column[c] = Load(w + c * w_group);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const F32x16 value = Set1(x[r * x_row]);
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) sum[r][c] = MulAdd(value, column[c], sum[r][c]);
    }
  }
};

// bf16 weights [k / 2][16][2], f32 panels.
struct WidenedProduct {
  using X = float;
  using W = Bf16;
  static constexpr int kXStep = 2;
  static constexpr int kXRow = 0;
  static constexpr int kWStep = 32;
  template <int R, int C>
  static SL_INLINE void Step(const X* x, int64_t x_row, int64_t x_next, const W* w, int64_t w_group,
                             F32x16 (&sum)[R][C]) {
    F32x16 column[C];
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) column[c] = LoadFirst(w + c * w_group);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const F32x16 value = Set1(x[r * x_row]);
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) sum[r][c] = MulAdd(value, column[c], sum[r][c]);
    }
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) column[c] = LoadSecond(w + c * w_group);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const F32x16 value = Set1(x[x_next + r * x_row]);
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) sum[r][c] = MulAdd(value, column[c], sum[r][c]);
    }
  }
};

#if defined(__AVX512BF16__)
// bf16 weights [k / 2][16][2], bf16 panels [k / 2][rows][2].
struct PairsProduct {
  using X = int32_t;
  using W = Bf16;
  static constexpr int kXStep = 1;
  static constexpr int kXRow = 0;
  static constexpr int kWStep = 32;
  template <int R, int C>
  static SL_INLINE void Step(const X* x, int64_t x_row, int64_t x_next, const W* w, int64_t w_group,
                             F32x16 (&sum)[R][C]) {
    __m512i column[C];
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) column[c] = _mm512_loadu_si512(w + c * w_group);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m512i value = _mm512_set1_epi32(x[r * x_row]);
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) {
        sum[r][c] = _mm512_dpbf16_ps(sum[r][c], (__m512bh)value, (__m512bh)column[c]);
      }
    }
  }
};
#endif

template <typename Product, int R, int C>
void Tile(const TileCall& call) {
  constexpr int64_t x_row = Product::kXRow ? Product::kXRow : 1;
  constexpr int64_t x_next = Product::kXRow ? 1 : R;
  F32x16 sum[R][C];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) {
      sum[r][c] = call.resume ? Load(call.sums + r * call.sums_row + c * 16) : Zero();
    }
  }
  const auto* x = static_cast<const typename Product::X*>(call.x);
  const auto* w = static_cast<const typename Product::W*>(call.w);
  const int64_t w_group = call.w_group;
  for (int64_t step = 0; step < call.steps; ++step) {
    // Weights are read once, in order, from as many places as there are groups.
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) __builtin_prefetch(w + c * w_group + 2048 / sizeof(*w));
    Product::template Step<R, C>(x, x_row, x_next, w, w_group, sum);
    x += Product::kXStep * x_next;
    w += Product::kWStep;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) Store(call.sums + r * call.sums_row + c * 16, sum[r][c]);
  }
}

using TileFunction = void (*)(const TileCall&);

template <typename Product, int C>
struct TilesOf {
  template <size_t... R>
  static constexpr TileFunction Pick(int rows, std::index_sequence<R...>) {
    constexpr TileFunction table[] = {Tile<Product, static_cast<int>(R) + 1, C>...};
    return table[rows - 1];
  }
};

// Multiplies `rows` (at most kTileRows) rows by `groups` groups of 16 columns.
template <typename Product>
void Tiles(TileCall call, int rows, int64_t groups) {
  using W = typename Product::W;
  const auto advance = [&](int64_t done) {
    call.w = static_cast<const W*>(call.w) + done * call.w_group;
    call.sums += done * 16;
    groups -= done;
  };
#if defined(__AVX512F__)
  if (rows <= 6) {
    const TileFunction four = TilesOf<Product, 4>::Pick(rows, std::make_index_sequence<6>());
    for (; groups >= 4; advance(4)) four(call);
  }
  const TileFunction two = TilesOf<Product, 2>::Pick(rows, std::make_index_sequence<kTileRows>());
  for (; groups >= 2; advance(2)) two(call);
#elif defined(__AVX2__)
  if (rows <= 2) {
    const TileFunction two = TilesOf<Product, 2>::Pick(rows, std::make_index_sequence<2>());
    for (; groups >= 2; advance(2)) two(call);
  }
#endif
  const TileFunction one = TilesOf<Product, 1>::Pick(rows, std::make_index_sequence<kTileRows>());
  for (; groups >= 1; advance(1)) one(call);
}

}  // namespace shardline::SHARDLINE_ISA
