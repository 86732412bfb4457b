// The operations on rows: right to their rounding, the same bits at any place in a row, any number
// of rows and threads; and the choice of the instruction set.
#include "kernels/ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "tests/kernels/tensor.h"

namespace shardline {
namespace {

using testing::AllCpuOps;
using testing::HalfUlp;
using testing::kFloats;
using testing::kInfinity;
using testing::kNan;
using testing::Machine;
using testing::RoundTo;
using testing::Tensor;
using testing::Weights;

// Values around every special case of rounding.
std::vector<float> Nasty() {
  std::vector<float> all = {0.0f,
                            -0.0f,
                            1.0f,
                            -1.0f,
                            kInfinity,
                            -kInfinity,
                            kNan,
                            -kNan,
                            3.4e38f,
                            -3.4e38f,
                            std::numeric_limits<float>::max(),
                            1e-45f,
                            -1e-45f,
                            1e-39f,
                            1.1754944e-38f};
  for (uint32_t bits :
       {0x3f808000u, 0x3f818000u, 0x3f808001u, 0x3f807fffu, 0x3f817fffu, 0x7f7fffffu, 0x7f7f8000u,
        0x7f800001u, 0xff800001u, 0x7fffffffu, 0x00008000u, 0x80018000u}) {
    float x;
    std::memcpy(&x, &bits, 4);
    all.push_back(x);
  }
  return all;
}

TEST(Dispatch, ChoosesWhatTheMachineHas) {
  ASSERT_NE(CpuOpsFor("scalar"), nullptr);
  EXPECT_EQ(CpuOpsFor("sse9"), nullptr);
  for (const Ops* ops : AllCpuOps()) {
    EXPECT_EQ(ops->name, "cpu");
    EXPECT_EQ(CpuOpsFor(ops->instruction_set), ops);
  }
  EXPECT_NE(CpuOpsFor(CpuOps().instruction_set), nullptr);
  // ctest runs this once more for each name, and with one that does not exist.
  if (const char* asked = std::getenv("SHARDLINE_CPU_ISA"); asked && CpuOpsFor(asked)) {
    EXPECT_EQ(CpuOps().instruction_set, asked);
  }
}

TEST(KvWrite, RoundsToNearestEvenAndKeepsNan) {
  std::vector<float> nasty = Nasty();
  for (const float x : {65519.996f, 65520.0f, 65504.0f, 0x1p-14f, 0x1.ffcp-15f, 0x1p-24f, 0x1p-25f,
                        0x1.002p-25f, 0x1.8p-24f, 1.00048828125f, 1.00146484375f, -0x1.7p-20f}) {
    nasty.push_back(x);
  }
  const auto n = static_cast<int64_t>(nasty.size());
  Machine machine;
  for (const Ops* ops : AllCpuOps()) {
    for (const DType type : {DType::kBF16, DType::kF16}) {
      Tensor k(DType::kF32, {1, 1, n}), k_pages(type, {2, 1, 3, n}), v_pages(k_pages);
      for (int64_t i = 0; i < n; ++i) k.Set(i, nasty[i]);
      int64_t slot = 4;  // block 1, offset 1
      ops->kv_write(machine, k, k, View::Contiguous(&slot, DType::kI64, {1}),
                    {.k = k_pages, .v = v_pages});
      for (int64_t i = 0; i < 6 * n; ++i) {
        const float x = nasty[i % n];
        const uint16_t rounded =
            type == DType::kBF16 ? testing::ToBf16Bits(x) : testing::ToF16Bits(x);
        EXPECT_EQ(k_pages.view().as<uint16_t>()[i], i / n == 4 ? rounded : 0)
            << ops->instruction_set << " " << NameOf(type) << " " << x;
      }
      EXPECT_TRUE(k_pages.SameBits(v_pages));
    }
  }
}

TEST(Add, WidensEveryF16Exactly) {
  Machine machine;
  for (const Ops* ops : AllCpuOps()) {
    Tensor all(DType::kF16, {1, 65536}), sum(DType::kF32, {1, 65536});
    for (int64_t i = 0; i < 65536; ++i) all.view().as<uint16_t>()[i] = static_cast<uint16_t>(i);
    ops->add(machine, sum, all);
    for (int64_t i = 0; i < 65536; ++i) {
      const double x = all.Get(i);
      ASSERT_TRUE(std::isnan(x) ? std::isnan(sum.Get(i)) : sum.Get(i) == x)
          << ops->instruction_set << " " << i;
    }
  }
}

TEST(Embed, ReadsRowsOfThePackedTableExactly) {
  Machine machine(2);
  for (const Ops* ops : AllCpuOps()) {
    for (DType stored : kFloats) {
      for (DType type : kFloats) {
        for (int64_t width : {1, 7, 64, 577}) {
          Tensor table(stored, {83, width}), y(type, {90, width});
          table.Random(1);
          std::vector<uint32_t> ids(90);
          for (uint32_t i = 0; i < 90; ++i) ids[i] = i * 37 % 83;
          ids[7] = 83, ids[8] = 0xffffffff;  // rows that the table does not have
          const View id = View::Contiguous(ids.data(), DType::kU32, {90});
          const Weights weights(*ops, table, stored);
          for (float scale : {1.0f, 7.625f}) {
            ops->embed(machine, id, weights.packed, scale, y);
            for (int64_t i = 0; i < y.size(); ++i) {
              const uint32_t row = ids[i / width];
              const float x = row < 83 ? static_cast<float>(table.Get(row * width + i % width)) : 0;
              ASSERT_EQ(y.Get(i), RoundTo(type, x * scale));
            }
          }
          EXPECT_TRUE(y.GuardIntact());
        }
      }
    }
  }
}

TEST(Pack, RoundsAndWidens) {
  Machine machine;
  for (const Ops* ops : AllCpuOps()) {
    Tensor wide(DType::kF32, {5, 9}), narrow(DType::kBF16, {5, 9}), y(DType::kF32, {5, 9});
    wide.Random(1), narrow.Random(2);
    std::vector<uint32_t> ids = {0, 1, 2, 3, 4};
    const View id = View::Contiguous(ids.data(), DType::kU32, {5});
    ops->embed(machine, id, Weights(*ops, wide, DType::kBF16).packed, 1.0f, y);
    for (int64_t i = 0; i < 45; ++i) ASSERT_EQ(y.Get(i), RoundTo(DType::kBF16, wide.Get(i)));
    ops->embed(machine, id, Weights(*ops, narrow, DType::kF32).packed, 1.0f, y);
    for (int64_t i = 0; i < 45; ++i) ASSERT_EQ(y.Get(i), narrow.Get(i));
  }
}

TEST(Clamp, KeepsNumbersWithinBounds) {
  Machine machine;
  for (const Ops* ops : AllCpuOps()) {
    Tensor x(DType::kF32, {1, 6});
    const float values[] = {-9, -0.5f, 0, 0.5f, 9, kNan};
    for (int64_t i = 0; i < 6; ++i) x.Set(i, values[i]);
    ops->clamp(machine, x, 0.75f);
    for (int64_t i = 0; i < 5; ++i) EXPECT_EQ(x.Get(i), std::clamp(values[i], -0.75f, 0.75f));
    EXPECT_TRUE(std::isnan(x.Get(5)));
  }
}

TEST(Rope, RotatesPairsAndLeavesTheRest) {
  Machine machine(2);
  for (const Ops* ops : AllCpuOps()) {
    for (DType type : kFloats) {
      for (RopeStyle style : {RopeStyle::kHalf, RopeStyle::kInterleaved}) {
        for (const auto& [head_dim, half] :
             {std::pair<int64_t, int64_t>{64, 32}, {80, 16}, {6, 3}, {9, 2}}) {
          Tensor x(type, {50, 3, head_dim}), cos(DType::kF32, {50, half}), sin(cos);
          x.Random(1);
          for (int64_t i = 0; i < cos.size(); ++i) {
            cos.Set(i, std::cos(static_cast<float>(i)));
            sin.Set(i, std::sin(static_cast<float>(i)));
          }
          Tensor y(x);
          ops->rope(machine, y, cos, sin, style);
          for (int64_t row = 0; row < 150; ++row) {
            for (int64_t i = 0; i < head_dim; ++i) {
              const bool rotated = i < 2 * half;
              const int64_t pair = style == RopeStyle::kHalf ? i % half : i / 2;
              const bool second = style == RopeStyle::kHalf ? i >= half : i % 2 != 0;
              const int64_t a = row * head_dim + (style == RopeStyle::kHalf ? pair : 2 * pair);
              const int64_t b = a + (style == RopeStyle::kHalf ? half : 1);
              double exact = x.Get(row * head_dim + i);
              if (rotated) {
                const double c = cos.Get(row / 3 * half + pair), s = sin.Get(row / 3 * half + pair);
                exact = second ? x.Get(b) * c + x.Get(a) * s : x.Get(a) * c - x.Get(b) * s;
              }
              const double slack = rotated ? 1e-6 + 1.01 * HalfUlp(type, exact) : 0;
              ASSERT_NEAR(y.Get(row * head_dim + i), exact, slack) << ops->instruction_set;
            }
          }
        }
      }
    }
  }
}

TEST(Add, RoundsOnceToTheTypeOfTheSum) {
  Machine machine(3);
  for (const Ops* ops : AllCpuOps()) {
    for (DType type : kFloats) {
      for (int64_t n : {1, 17, 576}) {
        Tensor x(type, {90, n}), y(type, {90, n});
        x.Random(1), y.Random(2, 0.01f);
        Tensor sum(x);
        ops->add(machine, sum, y);
        for (int64_t i = 0; i < x.size(); ++i) {
          const float exact = static_cast<float>(x.Get(i)) + static_cast<float>(y.Get(i));
          ASSERT_EQ(sum.Get(i), RoundTo(type, exact)) << ops->instruction_set;
        }
        EXPECT_TRUE(sum.GuardIntact());
      }
    }
  }
}

TEST(Scale, MultipliesAndCaps) {
  Machine machine(3);
  for (const Ops* ops : AllCpuOps()) {
    for (DType type : kFloats) {
      for (int64_t n : {1, 17, 576}) {
        Tensor x(type, {90, n});
        x.Random(1, 20.0f);
        Tensor scaled(x), capped(x);
        ops->scale(machine, scaled, 0.22f, 0);
        ops->scale(machine, capped, 0.7f, 5.0f);
        for (int64_t i = 0; i < x.size(); ++i) {
          const auto value = static_cast<float>(x.Get(i));
          ASSERT_EQ(scaled.Get(i), RoundTo(type, value * 0.22f)) << ops->instruction_set;
          const double exact = 5 * std::tanh(double{value} * 0.7f / 5);
          ASSERT_NEAR(capped.Get(i), exact, 2e-6 + 1.01 * HalfUlp(type, exact));
        }
        EXPECT_TRUE(scaled.GuardIntact() && capped.GuardIntact());
      }
    }
    Tensor ends(DType::kF32, {1, 4});
    ends.Set(0, kInfinity), ends.Set(1, -kInfinity), ends.Set(2, kNan), ends.Set(3, -1e30f);
    ops->scale(machine, ends, 1.0f, 30.0f);
    EXPECT_EQ(ends.Get(0), 30.0f);
    EXPECT_EQ(ends.Get(1), -30.0f);
    EXPECT_TRUE(std::isnan(ends.Get(2)));
    EXPECT_EQ(ends.Get(3), -30.0f);
  }
}

TEST(AddRows, RoundsProductsAndSums) {
  Machine machine(3);
  for (const Ops* ops : AllCpuOps()) {
    for (DType type : kFloats) {
      Tensor x(type, {50, 33}), y(type, {20, 33}), weights(DType::kF32, {20});
      x.Random(1), y.Random(2), weights.Random(3);
      Tensor sum(x);
      std::vector<uint32_t> rows(20);
      for (uint32_t i = 0; i < 20; ++i) rows[i] = (i * 7 + 3) % 50;
      ops->add_rows(machine, sum, View::Contiguous(rows.data(), DType::kU32, {20}), weights, y);
      Tensor expected(x);
      for (int64_t i = 0; i < 20; ++i) {
        for (int64_t j = 0; j < 33; ++j) {
          const int64_t at = rows[i] * 33 + j;
          const auto product =
              static_cast<float>(y.Get(i * 33 + j)) * static_cast<float>(weights.Get(i));
          const double rounded = RoundTo(type, product);
          expected.Set(at, static_cast<float>(x.Get(at)) + static_cast<float>(rounded));
        }
      }
      EXPECT_TRUE(sum.SameBits(expected) && sum.GuardIntact()) << ops->instruction_set;
    }
  }
}

// Every element by itself: in order, in f32, rounded once, whatever the instruction set, the number
// of elements and the threads; also in place of any part.
TEST(Sum, AddsPartsInOrderAndRoundsOnce) {
  Machine machine(3);
  for (const Ops* ops : AllCpuOps()) {
    for (DType type : kFloats) {
      for (int64_t n : {0, 1, 17, 511, 513, 100003}) {
        for (int count : {1, 2, 3, 5}) {
          std::vector<Tensor> parts;
          std::vector<const void*> data;
          for (int p = 0; p < count; ++p) {
            // Of unlike size, so that another order or a second rounding shows.
            parts.emplace_back(type, std::initializer_list<int64_t>{n})
                .Random(7 * p + 1, p % 2 == 0 ? 100.0f : 0.3f);
          }
          for (Tensor& part : parts) data.push_back(part.view().data);
          Tensor expected(type, {n}), out(type, {n});
          for (int64_t i = 0; i < n; ++i) {
            auto sum = static_cast<float>(parts[0].Get(i));
            for (int p = 1; p < count; ++p) sum += static_cast<float>(parts[p].Get(i));
            expected.Set(i, sum);
          }
          ops->sum(machine, data.data(), count, out);
          EXPECT_TRUE(out.SameBits(expected) && out.GuardIntact())
              << ops->instruction_set << " " << NameOf(type) << " " << n << " of " << count;
          const Tensor& last = parts.back();
          ops->sum(machine, data.data(), count, last);
          EXPECT_TRUE(last.SameBits(expected) && last.GuardIntact()) << "in place";
        }
      }
    }
  }
}

// Rows one by one, and all at once on three threads.
TEST(Rows, HaveTheSameBitsAloneAndTogether) {
  Machine one(1), three(3);
  constexpr int64_t kRows = 300, kWidth = 600;
  for (const Ops* ops : AllCpuOps()) {
    for (DType type : kFloats) {
      Tensor x(type, {kRows, kWidth}), weight(DType::kF32, {kWidth});
      x.Random(1), weight.Random(2);
      Tensor together(x), alone(x);
      const auto run = [&](const OpContext& context, const View& v) {
        ops->rms_norm(context, v, weight, Norm{1e-6f}, v);
        ops->gated(context, Activation::kSilu, v, v, v);
        ops->add(context, v, v);
        ops->scale(context, v, 0.9f, 3.0f);
        const View w = weight;
        ops->layer_norm(context, v, &w, &w, 1e-6f, v);
        ops->activate(context, Activation::kGelu, v);
        ops->clamp(context, v, 1.5f);
      };
      run(three, together);
      for (int64_t i = 0; i < kRows; ++i) run(one, alone.view().Rows(i, 1));
      EXPECT_TRUE(together.SameBits(alone)) << ops->instruction_set;
    }
  }
}

}  // namespace
}  // namespace shardline
