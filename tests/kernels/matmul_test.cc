// The matrix product: right to a bound on rounding, and the same bits for a row in any company.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "tests/kernels/tensor.h"

namespace shardline {
namespace {

using testing::AllCpuOps;
using testing::HalfUlp;
using testing::Machine;
using testing::Tensor;
using testing::Weights;

struct Types {
  DType x, w, y;
};
constexpr Types kTypes[] = {
    {DType::kF32, DType::kF32, DType::kF32},   {DType::kBF16, DType::kBF16, DType::kBF16},
    {DType::kBF16, DType::kBF16, DType::kF32}, {DType::kF32, DType::kBF16, DType::kF32},
    {DType::kBF16, DType::kF32, DType::kBF16}, {DType::kF16, DType::kF16, DType::kF16},
    {DType::kF16, DType::kF16, DType::kF32},   {DType::kBF16, DType::kF32, DType::kF32},
    {DType::kF16, DType::kF32, DType::kF32}};

std::string Name(const Ops& ops, const Types& t, int64_t m, int64_t n, int64_t k) {
  return std::string(ops.instruction_set) + " x=" + std::string(NameOf(t.x)) +
         " w=" + std::string(NameOf(t.w)) + " y=" + std::string(NameOf(t.y)) +
         " m=" + std::to_string(m) + " n=" + std::to_string(n) + " k=" + std::to_string(k);
}

void CheckProduct(const Ops& ops, const Types& types, int64_t m, int64_t n, int64_t k, bool biased,
                  Machine& machine) {
  SCOPED_TRACE(Name(ops, types, m, n, k));
  Tensor x(types.x, {m, k}), w(types.w, {n, k}), bias(DType::kF32, {n}), y(types.y, {m, n});
  x.Random(static_cast<uint32_t>(m * 7 + k)), w.Random(static_cast<uint32_t>(n + k)),
      bias.Random(3);
  const Weights weights(ops, w, types.w);
  ops.matmul(machine, x, weights.packed, biased ? &bias.view() : nullptr, y);
  EXPECT_TRUE(y.GuardIntact());
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = biased ? bias.Get(j) : 0.0, magnitude = std::abs(sum);
      for (int64_t d = 0; d < k; ++d) {
        sum += x.Get(i * k + d) * w.Get(j * k + d);
        magnitude += std::abs(x.Get(i * k + d) * w.Get(j * k + d));
      }
      // 1e-5 of the magnitudes summed, and the rounding of the result.
      ASSERT_NEAR(y.Get(i * n + j), sum, 1e-5 * magnitude + HalfUlp(types.y, sum) * 1.01)
          << "at " << i << ", " << j;
    }
  }
}

TEST(Pack, SomeRowsAtATimeGiveTheSameBytes) {
  for (const Ops* ops : AllCpuOps()) {
    for (const DType type : {DType::kF32, DType::kBF16, DType::kF16}) {
      for (const int64_t k : {33, 64}) {
        const int64_t n = 5 * kPackedRows + 3, step = 2 * kPackedRows;
        Tensor w(DType::kF32, {n, k});
        w.Random(5);
        const Weights whole(*ops, w, type);
        std::vector<unsigned char> sliced(whole.packed.bytes);
        for (int64_t row = 0; row < n; row += step) {
          Packed slice;
          ops->pack(w.view().Rows(row, std::min(step, n - row)), type,
                    sliced.data() + ops->packed_bytes(type, row, k), &slice);
        }
        EXPECT_EQ(std::memcmp(sliced.data(), whole.packed.data, sliced.size()), 0)
            << Name(*ops, {type, type, type}, 0, n, k);
      }
    }
  }
}

TEST(Matmul, IsCloseToTheExactSums) {
  Machine machine(2);
  for (const Ops* ops : AllCpuOps()) {
    for (const Types& types : kTypes) {
      for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 1, 1},
                                    {1, 16, 2},
                                    {1, 33, 65},
                                    {2, 48, 64},
                                    {3, 17, 7},
                                    {5, 100, 129},
                                    {6, 64, 576},
                                    {7, 31, 33},
                                    {12, 32, 64},
                                    {13, 80, 31},
                                    {37, 70, 601},
                                    {100, 40, 1030},
                                    {211, 96, 130}}) {
        CheckProduct(*ops, types, m, n, k, (m + n) % 2 == 0, machine);
      }
    }
  }
}

// Each row of a batch of m must have the bits that the row has alone, for every m and number of
// threads.
void CheckRows(const Ops& ops, const Types& types, int64_t n, int64_t k,
               const std::vector<int64_t>& batches, Machine& machine) {
  const int64_t most = batches.back();
  Tensor x(types.x, {most, k}), w(types.w, {n, k}), alone(types.y, {most, n});
  x.Random(11), w.Random(12);
  const Weights weights(ops, w, types.w);
  Machine single;
  for (int64_t i = 0; i < most; ++i) {
    ops.matmul(single, x.view().Rows(i, 1), weights.packed, nullptr, alone.view().Rows(i, 1));
  }
  for (int64_t m : batches) {
    Tensor y(types.y, {m, n});
    ops.matmul(machine, x.view().Rows(most - m, m), weights.packed, nullptr, y);
    ASSERT_EQ(std::memcmp(y.view().data, alone.view().Rows(most - m, m).data, y.view().bytes()), 0)
        << Name(ops, types, m, n, k);
  }
}

TEST(Matmul, ARowHasTheSameBitsInAnyBatch) {
  std::vector<int64_t> batches;
  for (int64_t m = 1; m <= 70; ++m) batches.push_back(m);
  Machine two(2), three(3);
  for (const Ops* ops : AllCpuOps()) {
    for (const Types& types : kTypes) {
      CheckRows(*ops, types, 72, 577, batches, two);
      CheckRows(*ops, types, 130, 64, {1, 2, 97, 200}, three);
    }
  }
}

TEST(Matmul, ARowHasTheSameBitsInALargeBatch) {
  Machine two(2);
  for (const Ops* ops : AllCpuOps()) {
    const bool scalar = ops->instruction_set == "scalar";
    for (const Types& types : kTypes) CheckRows(*ops, types, scalar ? 16 : 48, 1536, {2048}, two);
  }
}

// A product for each head has the bits of the same products one by one, in any batch and on any
// number of threads.
TEST(Matmul, OfHeadsEqualsEachAlone) {
  constexpr int64_t kTokens = 29, kHeads = 5, kN = 37, kK = 23, kRow = kHeads * (kK + 6);
  for (const Ops* ops : AllCpuOps()) {
    for (const Types& types : kTypes) {
      SCOPED_TRACE(Name(*ops, types, kTokens, kN, kK));
      Tensor x(types.x, {kTokens, kRow}), alone(types.y, {kTokens, kHeads * kN});
      x.Random(1);
      // The heads' inputs stand apart in a row.
      const View heads = x.view().SplitColumns(kHeads, kK + 6).Columns(4, kK);
      std::vector<Weights> weights;
      std::vector<Packed> packed;
      Machine one(1), three(3, 1 << 16);
      for (int64_t h = 0; h < kHeads; ++h) {
        Tensor w(types.w, {kN, kK});
        w.Random(static_cast<uint32_t>(2 + h));
        packed.push_back(weights.emplace_back(*ops, w, types.w).packed);
        ops->matmul(one, x.view().Columns(h * (kK + 6) + 4, kK), packed[h], nullptr,
                    alone.view().Columns(h * kN, kN));
      }
      for (Machine* machine : {&one, &three}) {
        for (const int64_t tokens : {int64_t{1}, int64_t{7}, kTokens}) {
          Tensor y(types.y, {kTokens, kHeads * kN});
          for (int64_t first = 0; first < kTokens; first += tokens) {
            const int64_t count = std::min(tokens, kTokens - first);
            ops->matmul_heads(*machine, heads.Rows(first, count), packed.data(),
                              y.view().Rows(first, count).SplitColumns(kHeads, kN));
          }
          EXPECT_TRUE(y.GuardIntact());
          EXPECT_TRUE(y.SameBits(alone)) << tokens << " tokens at once";
        }
      }
    }
  }
}

TEST(Matmul, TakesStridedRowsAndColumns) {
  Machine machine;
  for (const Ops* ops : AllCpuOps()) {
    for (const Types& types : kTypes) {
      Tensor wide(types.x, {9, 100}), x(types.x, {9, 41}), w(types.w, {20, 41});
      wide.Random(1), w.Random(2);
      for (int64_t i = 0; i < 9; ++i) {
        for (int64_t j = 0; j < 41; ++j)
          x.Set(i * 41 + j, static_cast<float>(wide.Get(i * 100 + 30 + j)));
      }
      const Weights weights(*ops, w, types.w);
      Tensor tight(types.y, {9, 20}), loose(types.y, {9, 50});
      ops->matmul(machine, x, weights.packed, nullptr, tight);
      ops->matmul(machine, wide.view().Columns(30, 41), weights.packed, nullptr,
                  loose.view().Columns(7, 20));
      for (int64_t i = 0; i < 9; ++i) {
        for (int64_t j = 0; j < 50; ++j) {
          const double expected = j >= 7 && j < 27 ? tight.Get(i * 20 + j - 7) : 0.0;
          ASSERT_EQ(loose.Get(i * 50 + j), expected) << ops->instruction_set;
        }
      }
    }
  }
}

TEST(Matmul, KeepsNanAndInfinityInTheirRows) {
  Machine machine(2);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Ops* ops : AllCpuOps()) {
    for (const Types& types : kTypes) {
      for (int64_t k : {64, 65}) {
        Tensor x(types.x, {30, k}), w(types.w, {33, k});
        x.Random(1), w.Random(2);
        const Weights weights(*ops, w, types.w);
        Tensor clean(types.y, {30, 33}), y(types.y, {30, 33});
        ops->matmul(machine, x, weights.packed, nullptr, clean);
        x.Set(5 * k + k - 1, nan);
        x.Set(17 * k + 3, infinity);
        ops->matmul(machine, x, weights.packed, nullptr, y);
        for (int64_t i = 0; i < 30; ++i) {
          for (int64_t j = 0; j < 33; ++j) {
            const double value = y.Get(i * 33 + j);
            if (i == 5) {
              ASSERT_TRUE(std::isnan(value)) << ops->instruction_set;
            } else if (i == 17) {
              ASSERT_EQ(value, w.Get(j * k + 3) > 0 ? infinity : -infinity) << ops->instruction_set;
            } else {
              ASSERT_EQ(value, clean.Get(i * 33 + j)) << ops->instruction_set;
            }
          }
        }
      }
    }
  }
}

TEST(Matmul, DenormalsAreHarmless) {
  Machine machine;
  for (const Ops* ops : AllCpuOps()) {
    for (const Types& types : kTypes) {
      Tensor x(types.x, {3, 32}), w(types.w, {16, 32}), y(types.y, {3, 16});
      w.Random(2);
      for (int64_t i = 0; i < x.size(); ++i) x.Set(i, 1e-40f);
      ops->matmul(machine, x, Weights(*ops, w, types.w).packed, nullptr, y);
      // An instruction set may take a denormal for zero (vdpbf16ps does), but nothing else.
      for (int64_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y.Get(i), 0.0, 1e-37);
    }
  }
}

}  // namespace
}  // namespace shardline
