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
using testing::Machine;
using testing::RoundTo;
using testing::Tensor;
using testing::Weights;

constexpr DType kFloats[] = {DType::kF32, DType::kBF16, DType::kF16};
const float kNan = std::numeric_limits<float>::quiet_NaN();
const float kInfinity = std::numeric_limits<float>::infinity();

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

TEST(RmsNorm, IsCloseAndRoundsOnceOrTwice) {
  Machine machine(2);
  for (const Ops* ops : AllCpuOps()) {
    for (DType type : kFloats) {
      for (const Norm norm : {Norm{1e-5f}, Norm{1e-5f, NormRounding::kOnce}}) {
        const bool twice = norm.rounding == NormRounding::kTwice;
        for (int64_t n : {1, 15, 16, 33, 576, 4096}) {
          Tensor x(type, {70, n}), weight(DType::kF32, {n}), y(type, {70, n});
          x.Random(1, 3.0f), weight.Random(2);
          ops->rms_norm(machine, x, weight, norm, y);
          for (int64_t t = 0; t < 70; ++t) {
            double sum = 0;
            for (int64_t i = 0; i < n; ++i) sum += x.Get(t * n + i) * x.Get(t * n + i);
            const double scale = 1 / std::sqrt(sum / static_cast<double>(n) + 1e-5f);
            for (int64_t i = 0; i < n; ++i) {
              const double normal = x.Get(t * n + i) * scale, exact = normal * weight.Get(i);
              const double slack = twice * HalfUlp(type, normal) * std::abs(weight.Get(i)) +
                                   HalfUlp(type, exact) + 2e-6 * std::abs(exact);
              ASSERT_NEAR(y.Get(t * n + i), exact, 1.01 * slack)
                  << ops->instruction_set << " n " << n;
            }
          }
          EXPECT_TRUE(y.GuardIntact());
          Tensor in_place(x);
          ops->rms_norm(Machine(), in_place, weight, norm, in_place);
          EXPECT_TRUE(in_place.SameBits(y));
        }
      }
    }
  }
}

// A head is normed as a row of its own would be, and what stands beside the heads is left alone.
TEST(RmsNorm, TakesHeadsOfWiderRows) {
  Machine machine(2);
  for (const Ops* ops : AllCpuOps()) {
    for (DType type : kFloats) {
      constexpr int64_t kTokens = 40, kHeads = 3, kDim = 24, kWide = 100;
      Tensor wide(type, {kTokens, kWide}), weight(DType::kF32, {kDim});
      wide.Random(1), weight.Random(2);
      Tensor y(wide);
      const View heads = y.view().Columns(10, kHeads * kDim).SplitColumns(kHeads, kDim);
      const Norm norm{1e-6f, NormRounding::kOnce};
      ops->rms_norm(machine, heads, weight, norm, heads);
      for (int64_t t = 0; t < kTokens; ++t) {
        Tensor row(type, {1, kDim});
        for (int64_t i = 0; i < kWide; ++i) {
          const int64_t within = (i - 10) % kDim;
          if (i < 10 || i >= 10 + kHeads * kDim) {
            ASSERT_EQ(y.Get(t * kWide + i), wide.Get(t * kWide + i));
            continue;
          }
          if (within == 0) {
            for (int64_t j = 0; j < kDim; ++j) {
              row.Set(j, static_cast<float>(wide.Get(t * kWide + i + j)));
            }
            ops->rms_norm(machine, row, weight, norm, row);
          }
          ASSERT_EQ(y.Get(t * kWide + i), row.Get(within)) << ops->instruction_set;
        }
      }
    }
  }
}

TEST(LayerNorm, IsCloseWithAndWithoutWeightAndBias) {
  Machine machine(2);
  for (const Ops* ops : AllCpuOps()) {
    for (DType type : kFloats) {
      for (int64_t n : {1, 15, 16, 33, 576, 4096}) {
        Tensor x(type, {70, n}), weight(DType::kF32, {n}), bias(weight), y(type, {70, n});
        x.Random(1, 3.0f), weight.Random(2), bias.Random(3);
        for (int64_t i = 0; i < x.size(); ++i) x.Set(i, static_cast<float>(x.Get(i) + 5));
        const View w = weight, b = bias;
        for (const auto& [weighted, biased] :
             {std::pair{true, true}, {true, false}, {false, false}}) {
          ops->layer_norm(machine, x, weighted ? &w : nullptr, biased ? &b : nullptr, 1e-5f, y);
          for (int64_t t = 0; t < 70; ++t) {
            double sum = 0, squares = 0;
            for (int64_t i = 0; i < n; ++i) sum += x.Get(t * n + i);
            const double mean = sum / static_cast<double>(n);
            for (int64_t i = 0; i < n; ++i) squares += std::pow(x.Get(t * n + i) - mean, 2);
            const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5f);
            for (int64_t i = 0; i < n; ++i) {
              const double normal = (x.Get(t * n + i) - mean) * scale;
              const double exact = normal * (weighted ? weight.Get(i) : 1) + biased * bias.Get(i);
              ASSERT_NEAR(y.Get(t * n + i), exact,
                          1.01 * HalfUlp(type, exact) + 4e-6 * (1 + std::abs(normal)))
                  << ops->instruction_set << " n " << n;
            }
          }
          EXPECT_TRUE(y.GuardIntact());
          Tensor in_place(x);
          ops->layer_norm(Machine(), in_place, weighted ? &w : nullptr, biased ? &b : nullptr,
                          1e-5f, in_place);
          EXPECT_TRUE(in_place.SameBits(y));
        }
      }
    }
  }
}

// Every head with weights of its own is a row with those weights.
TEST(LayerNorm, TakesHeadsWithWeightsOfTheirOwn) {
  Machine machine(2);
  for (const Ops* ops : AllCpuOps()) {
    for (DType type : kFloats) {
      constexpr int64_t kTokens = 40, kHeads = 3, kDim = 24;
      Tensor x(type, {kTokens, kHeads * kDim}), weight(DType::kF32, {kHeads * kDim});
      x.Random(1), weight.Random(2);
      Tensor y(x);
      const View w = weight, heads = y.view().SplitColumns(kHeads, kDim);
      ops->layer_norm(machine, heads, &w, nullptr, 1e-6f, heads);
      for (int64_t h = 0; h < kHeads; ++h) {
        const View own = weight.view().Rows(h * kDim, kDim);
        Tensor row(x);
        const View part = row.view().Columns(h * kDim, kDim);
        ops->layer_norm(machine, part, &own, nullptr, 1e-6f, part);
        for (int64_t t = 0; t < kTokens; ++t) {
          for (int64_t i = 0; i < kDim; ++i) {
            const int64_t at = (t * kHeads + h) * kDim + i;
            ASSERT_EQ(y.Get(at), row.Get(at)) << ops->instruction_set;
          }
        }
      }
    }
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

double Silu(double g) { return g / (1 + std::exp(-g)); }
double GeluTanh(double g) {
  const double u = std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g);
  return g / (1 + std::exp(-2 * u));
}

TEST(Gated, IsCloseOverTheWholeRange) {
  Machine machine(2);
  for (const Ops* ops : AllCpuOps()) {
    for (DType type : kFloats) {
      for (const auto& [act, exact_of] :
           {std::pair{Activation::kSilu, &Silu}, {Activation::kGeluTanh, &GeluTanh}}) {
        constexpr int64_t kCount = 40001;
        Tensor gate(type, {1, kCount}), up(type, {1, kCount}), y(type, {1, kCount});
        for (int64_t i = 0; i < kCount; ++i) {
          gate.Set(i, static_cast<float>((i - 20000) * 0.01));
          up.Set(i, 1.0f);
        }
        ops->gated(machine, act, gate, up, y);
        for (int64_t i = 0; i < kCount; ++i) {
          const double exact = exact_of(gate.Get(i));
          // exp may be off by 2 units in the last place, the division and the sum by half of one
          // each. GELU's exponent is off by a few, which tells where it is large: below -3. Where
          // the power passes the largest f32 the result is a zero instead of less than 1e-36.
          const double share = act == Activation::kSilu ? 4e-7 : gate.Get(i) < -3 ? 2e-5 : 2e-6;
          ASSERT_NEAR(y.Get(i), exact,
                      share * std::abs(exact) + 1.01 * HalfUlp(type, exact) + 1e-36)
              << ops->instruction_set << " at " << gate.Get(i);
        }
      }
    }
  }
}

double Gelu(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }
double Relu2(double x) { return x < 0 ? 0 : x * x; }

TEST(Activate, IsCloseOverTheWholeRange) {
  Machine machine(2);
  for (const Ops* ops : AllCpuOps()) {
    for (DType type : kFloats) {
      for (const auto& [act, exact_of] : {std::pair{Activation::kSilu, &Silu},
                                          {Activation::kGeluTanh, &GeluTanh},
                                          {Activation::kGelu, &Gelu},
                                          {Activation::kRelu2, &Relu2}}) {
        constexpr int64_t kCount = 40001;
        Tensor x(type, {1, kCount});
        for (int64_t i = 0; i < kCount; ++i) x.Set(i, static_cast<float>((i - 20000) * 0.001));
        Tensor y(x);
        ops->activate(machine, act, y);
        for (int64_t i = 0; i < kCount; ++i) {
          const double exact = exact_of(x.Get(i));
          const double share = x.Get(i) < -3 ? 2e-5 : 2e-6;  // as of the gated ones
          ASSERT_NEAR(y.Get(i), exact,
                      share * std::abs(exact) + 1.01 * HalfUlp(type, exact) + 1e-36)
              << ops->instruction_set << " " << static_cast<int>(act) << " at " << x.Get(i);
        }
      }
    }
  }
}

TEST(GatedSilu, AValueHasTheSameBitsAtAnyPlace) {
  Machine machine;
  for (const Ops* ops : AllCpuOps()) {
    for (DType type : kFloats) {
      for (float value : {-87.3f, -3.1f, -1e-3f, 0.7f, 12.5f, 100.0f}) {
        Tensor gate(type, {1, 1}), up(type, {1, 1}), alone(type, {1, 1});
        gate.Set(0, value), up.Set(0, 1.7f);
        ops->gated(machine, Activation::kSilu, gate, up, alone);
        for (int64_t n = 1; n < 70; ++n) {
          Tensor gates(type, {2, n}), ups(type, {2, n}), y(type, {2, n});
          for (int64_t i = 0; i < 2 * n; ++i) gates.Set(i, value), ups.Set(i, 1.7f);
          ops->gated(machine, Activation::kSilu, gates, ups, y);
          for (int64_t i = 0; i < 2 * n; ++i) ASSERT_EQ(y.Get(i), alone.Get(0)) << n << " " << i;
          EXPECT_TRUE(y.GuardIntact());
        }
      }
    }
  }
}

TEST(GatedSilu, NanAndInfinityStayWhereTheyAre) {
  Machine machine;
  for (const Ops* ops : AllCpuOps()) {
    Tensor gate(DType::kF32, {1, 40}), up(DType::kF32, {1, 40}), y(DType::kF32, {1, 40});
    gate.Random(1), up.Random(2);
    gate.Set(3, kNan), gate.Set(17, kInfinity), up.Set(17, 2.0f), gate.Set(39, -kNan),
        up.Set(20, kNan);
    ops->gated(machine, Activation::kSilu, gate, up, y);
    for (int64_t i = 0; i < 40; ++i) {
      if (i == 3 || i == 39 || i == 20) {
        EXPECT_TRUE(std::isnan(y.Get(i)));
      } else if (i == 17) {
        EXPECT_EQ(y.Get(i), kInfinity);
      } else {
        EXPECT_NEAR(y.Get(i), Silu(gate.Get(i)) * up.Get(i), 1e-6);
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

// The choices and weights of one row of scores.
struct Routed {
  std::vector<uint32_t> ids;
  std::vector<double> weights;
};

Routed RouteOne(const Ops& ops, const Routing& routing, const std::vector<float>& scores,
                int64_t active, const std::vector<float>& bias = {}) {
  Machine machine(2);
  const auto n = static_cast<int64_t>(scores.size());
  Tensor row(DType::kF32, {1, n}), added(DType::kF32, {n}), weights(DType::kF32, {1, active});
  for (int64_t i = 0; i < n; ++i) row.Set(i, scores[i]);
  for (size_t i = 0; i < bias.size(); ++i) added.Set(i, bias[i]);
  Routed routed{.ids = std::vector<uint32_t>(active)};
  const View bias_view = added;
  ops.route(machine, routing, row, bias.empty() ? nullptr : &bias_view,
            View::Contiguous(routed.ids.data(), DType::kU32, {1, active}), weights);
  EXPECT_TRUE(weights.GuardIntact() && row.GuardIntact());
  for (int64_t k = 0; k < active; ++k) routed.weights.push_back(weights.Get(k));
  return routed;
}

using Ids = std::vector<uint32_t>;

TEST(Route, ChoosesTheLargestAndOfEqualsTheFirst) {
  for (const Ops* ops : AllCpuOps()) {
    const Routed all = RouteOne(*ops, {}, {0, 2, -1, 2, 1}, 2);
    EXPECT_EQ(all.ids, (Ids{1, 3}));
    const double sum = std::exp(-2) + 1 + std::exp(-3) + 1 + std::exp(-1);
    EXPECT_NEAR(all.weights[0], 1 / sum, 1e-6);
    EXPECT_NEAR(all.weights[1], 1 / sum, 1e-6);
    const Routed chosen = RouteOne(*ops, {.renormalise = true}, {0, 2, -1, 1.5f, 1}, 2);
    EXPECT_NEAR(chosen.weights[0], 1 / (1 + std::exp(-0.5)), 1e-6);
    EXPECT_NEAR(chosen.weights[0] + chosen.weights[1], 1, 1e-6);
    for (const Scoring scoring : {Scoring::kSoftmax, Scoring::kSigmoid}) {
      const Ids ids = RouteOne(*ops, {.scoring = scoring}, {-4, -3, kNan, -5, 3}, 2).ids;
      EXPECT_TRUE(ids[0] < 5 && ids[1] < 5 && ids[0] != ids[1]) << "whatever the scores are";
    }
  }
}

TEST(Route, BiasChoosesAndDoesNotWeigh) {
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  for (const Ops* ops : AllCpuOps()) {
    const Routing routing{.scoring = Scoring::kSigmoid, .scale = 2.5f};
    const Routed routed = RouteOne(*ops, routing, {1, 0, -1, 2}, 2, {0, 0, 5, -5});
    EXPECT_EQ(routed.ids, (Ids{2, 0}));
    EXPECT_NEAR(routed.weights[0], 2.5 * sigmoid(-1), 1e-6);
    EXPECT_NEAR(routed.weights[1], 2.5 * sigmoid(1), 1e-6);
    const Routing ones{.scoring = Scoring::kSigmoid, .renormalise = true, .epsilon = 0.5f};
    const Routed part = RouteOne(*ops, ones, {1, 0, -1, 2}, 2);
    EXPECT_NEAR(part.weights[0], sigmoid(2) / (sigmoid(2) + sigmoid(1) + 0.5), 1e-6);
  }
}

TEST(Route, GroupsLimitTheChoice) {
  // Three groups of two: {0, 9}, {6, 5}, {7, 1}, of which the sums and the largest order otherwise.
  const std::vector<float> scores = {0, 0.9f, 0.6f, 0.5f, 0.7f, 0.1f};
  for (const Ops* ops : AllCpuOps()) {
    Routing routing{.scoring = Scoring::kSigmoid, .groups = 3, .active_groups = 1};
    EXPECT_EQ(RouteOne(*ops, routing, scores, 2).ids, (Ids{1, 0}));
    routing.group_score = GroupScore::kSumOfTwoLargest;
    EXPECT_EQ(RouteOne(*ops, routing, scores, 2).ids, (Ids{2, 3}));
    routing.active_groups = 2;
    EXPECT_EQ(RouteOne(*ops, routing, scores, 3).ids, (Ids{1, 2, 3}));
    routing.active_groups = 3;
    EXPECT_EQ(RouteOne(*ops, routing, scores, 3).ids, (Ids{1, 4, 2}));
    routing.active_groups = 1;  // of equal groups the first, whose experts are equal too
    EXPECT_EQ(RouteOne(*ops, routing, {1, 1, 1, 1, 1, 1}, 2).ids, (Ids{0, 1}));
    const Ids ids = RouteOne(*ops, routing, std::vector<float>(6, kNan), 2).ids;
    EXPECT_EQ(ids, (Ids{0, 1})) << "whatever the scores are";
  }
}

TEST(Route, RoundsScoresAndWeights) {
  for (const Ops* ops : AllCpuOps()) {
    // One in bf16, whose step there is 1/128: equal, so the first.
    const std::vector<float> scores = {1.001f, 1.002f, 0};
    EXPECT_EQ(RouteOne(*ops, {}, scores, 1).ids, (Ids{1}));
    EXPECT_EQ(RouteOne(*ops, {.logits = DType::kBF16}, scores, 1).ids, (Ids{0}));
    for (const DType type : {DType::kBF16, DType::kF16}) {
      const Routed exact = RouteOne(*ops, {.renormalise = true}, scores, 3);
      const Routed routed = RouteOne(*ops, {.weights = type, .renormalise = true}, scores, 3);
      for (int64_t k = 0; k < 3; ++k) {
        EXPECT_EQ(routed.weights[k], RoundTo(type, static_cast<float>(exact.weights[k])));
      }
    }
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
