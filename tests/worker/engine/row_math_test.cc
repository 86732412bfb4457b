// Every instruction set gives the same bits, at every length, and the right values.
#include "worker/engine/row_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace shardline {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<float> RandomRow(size_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, 4);
  std::vector<float> row(n);
  for (float& x : row) x = rng() % 50 == 0 ? -kInf : normal(rng);
  row[n / 2] = 1.0f;
  return row;
}

TEST(RowMath, SameBitsOnEveryInstructionSet) {
  for (const size_t n : {1, 5, 8, 16, 17, 63, 64, 65, 255, 256, 257, 1000, 49152}) {
    const std::vector<float> row = RandomRow(n, n);
    const RowMath& first = AllRowMath().front();
    const float max = *std::max_element(row.begin(), row.end());
    std::vector<double> weights(n + 8), sums(n / kWeightBlock + 1), w2(n + 8), s2(sums.size());
    const double sum = first.sum_exp(row.data(), n, max, 0.7);
    const double mass = first.weigh(row.data(), n, max, 0.7, 0.01, weights.data(), sums.data());
    for (const RowMath& math : AllRowMath()) {
      SCOPED_TRACE(math.name);
      EXPECT_EQ(math.scan(row.data(), n).max, max);
      EXPECT_FALSE(math.scan(row.data(), n).non_finite);
      EXPECT_EQ(math.sum_exp(row.data(), n, max, 0.7), sum);
      EXPECT_EQ(math.weigh(row.data(), n, max, 0.7, 0.01, w2.data(), s2.data()), mass);
      EXPECT_TRUE(std::equal(w2.begin(), w2.begin() + n, weights.begin()));
      EXPECT_EQ(s2, sums);
      EXPECT_EQ(math.count_above(row.data(), n, 0.5f),
                std::count_if(row.begin(), row.end(), [](float x) { return x > 0.5f; }));
      size_t found = 0;
      for (size_t i = math.find_above(row.data(), n, 0, 6.0f); i < n;
           i = math.find_above(row.data(), n, i + 64, 6.0f)) {
        found += std::count_if(row.begin() + i, row.begin() + std::min(i + 64, n),
                               [](float x) { return x > 6.0f; });
      }
      EXPECT_EQ(found, math.count_above(row.data(), n, 6.0f));
    }
  }
}

TEST(RowMath, ExpIsWithinTwoUlp) {
  EXPECT_EQ(RowExp(0), 1.0);
  EXPECT_EQ(RowExp(-1e9), 0.0);
  EXPECT_EQ(RowExp(-std::numeric_limits<double>::infinity()), 0.0);
  for (double x = 0; x > -707; x -= 0.00317) {
    ASSERT_NEAR(RowExp(x) / std::exp(x), 1.0, 5e-16) << x;
  }
}

TEST(RowMath, ScanFindsNonFiniteValuesAnywhere) {
  for (const RowMath& math : AllRowMath()) {
    for (size_t n = 1; n < 70; ++n) {
      for (size_t i = 0; i < n; ++i) {
        for (const float bad : {kNaN, kInf, -kNaN}) {
          std::vector<float> row(n, -1.0f);
          row[i] = bad;
          EXPECT_TRUE(math.scan(row.data(), n).non_finite) << math.name << " " << n << " " << i;
        }
      }
      std::vector<float> row(n, -kInf);
      EXPECT_EQ(math.scan(row.data(), n).max, -kInf);
      EXPECT_FALSE(math.scan(row.data(), n).non_finite);
    }
  }
}

TEST(RowMath, SelectBestPrefersLowerIdsAndSkipsImpossibleTokens) {
  std::mt19937 rng(7);
  for (int round = 0; round < 300; ++round) {
    const size_t n = 1 + rng() % 3000, k = 1 + rng() % (rng() % 4 == 0 ? n : 20);
    std::vector<float> row(n);
    for (float& x : row) x = rng() % 9 == 0 ? -kInf : static_cast<float>(rng() % 40);
    if (round % 5 == 0) std::sort(row.begin(), row.end());
    std::vector<RankedToken> all, best;
    for (size_t i = 0; i < n; ++i) {
      if (row[i] > -kInf) all.push_back({row[i], static_cast<uint32_t>(i)});
    }
    std::sort(all.begin(), all.end(), RanksBefore);
    all.resize(std::min(k, all.size()));
    SelectBest(row, k, best);
    std::sort(best.begin(), best.end(), RanksBefore);
    ASSERT_EQ(best.size(), all.size());
    for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(best[i].id, all[i].id);
  }
}

}  // namespace
}  // namespace shardline
