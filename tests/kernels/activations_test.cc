// Activations and gates: close over the whole range, the same bits at any place in a row.
#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "kernels/ops.h"
#include "tests/kernels/tensor.h"

namespace shardline {
namespace {

using testing::AllCpuOps;
using testing::HalfUlp;
using testing::kFloats;
using testing::kInfinity;
using testing::kNan;
using testing::Machine;
using testing::Tensor;

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

}  // namespace
}  // namespace shardline
