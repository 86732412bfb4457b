#include "worker/engine/row_math.h"

#include <algorithm>
#include <cfloat>
#include <limits>

namespace shardline {
namespace {

namespace baseline {
#define SL_ROW_MATH_NAME "baseline"
#include "worker/engine/row_math.inc"
}  // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2")
namespace avx2 {
#define SL_ROW_MATH_NAME "avx2"
#include "worker/engine/row_math.inc"
}  // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f")
namespace avx512 {
#define SL_ROW_MATH_NAME "avx512"
#include "worker/engine/row_math.inc"
}  // namespace avx512
#pragma GCC pop_options
#endif

}  // namespace

std::span<const RowMath> AllRowMath() {
#if defined(__x86_64__)
  static constexpr RowMath kAll[] = {baseline::kTable, avx2::kTable, avx512::kTable};
  static const size_t count = __builtin_cpu_supports("avx512f") ? 3
                              : __builtin_cpu_supports("avx2")  ? 2
                                                                : 1;
  return {kAll, count};
#else
  static constexpr RowMath kAll[] = {baseline::kTable};
  return kAll;
#endif
}

const RowMath& BestRowMath() {
  static const RowMath& best = AllRowMath().back();
  return best;
}

double RowExp(double x) { return baseline::ExpOfOne(x); }

void SelectBest(std::span<const float> row, size_t k, std::vector<RankedToken>& best) {
  best.clear();
  if (k == 0) return;
  const RowMath& math = BestRowMath();
  const size_t room = std::max<size_t>(2 * std::min(k, row.size()), 256);
  // Once k tokens are at hand, only a strictly larger logit can displace one: ids only grow.
  float limit = -std::numeric_limits<float>::infinity();
  const auto shrink = [&] {
    std::nth_element(best.begin(), best.begin() + (k - 1), best.end(), RanksBefore);
    best.resize(k);
    limit = best[k - 1].logit;
  };
  for (size_t i = math.find_above(row.data(), row.size(), 0, limit); i < row.size();
       i = math.find_above(row.data(), row.size(), i + 64, limit)) {
    const size_t end = std::min(i + 64, row.size());
    for (size_t j = i; j < end; ++j) {
      if (!(row[j] > limit)) continue;
      best.push_back({row[j], static_cast<uint32_t>(j)});
      if (best.size() >= room && best.size() > k) shrink();
    }
  }
  if (best.size() > k) shrink();
}

}  // namespace shardline
