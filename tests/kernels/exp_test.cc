// The kernels' exponential against the double one, compiled here for the baseline instruction set.
#define SHARDLINE_ISA exp_test
#include "kernels/cpu/isa/exp.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace shardline {
namespace {

TEST(Exp, IsWithinTwoUnitsInTheLastPlace) {
  double worst = 0;
  for (uint32_t bits = 0; bits < 0xffffffffu - 997; bits += 997) {
    float x;
    std::memcpy(&x, &bits, 4);
    if (!(std::abs(x) < 120)) continue;
    const double exact = std::exp(static_cast<double>(x));
    const float got = exp_test::Exp(x);
    if (exact > std::numeric_limits<float>::max()) {
      ASSERT_EQ(got, std::numeric_limits<float>::infinity()) << x;
    } else {
      const double unit = std::ldexp(1.0, std::max(std::ilogb(exact), -126) - 23);
      worst = std::max(worst, std::abs(got - exact) / unit);
    }
  }
  EXPECT_LE(worst, 2.0);
}

TEST(Exp, SpecialValues) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(exp_test::Exp(0.0f), 1.0f);
  EXPECT_EQ(exp_test::Exp(-infinity), 0.0f);
  EXPECT_EQ(exp_test::Exp(infinity), infinity);
  EXPECT_EQ(exp_test::Exp(-1e30f), 0.0f);
  EXPECT_TRUE(std::isnan(exp_test::Exp(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(exp_test::Exp(-std::numeric_limits<float>::quiet_NaN())));
}

}  // namespace
}  // namespace shardline
