// RMS and layer norms: right to their rounding, of whole rows and of heads within them.
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
using testing::Machine;
using testing::Tensor;

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

}  // namespace
}  // namespace shardline
