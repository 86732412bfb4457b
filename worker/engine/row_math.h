// Passes over one row of logits: the sampler's inner loops, in one vector form per instruction set.
// Sums run in eight fixed lanes and fixed blocks, so every instruction set gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace shardline {

inline constexpr size_t kWeightBlock = 256;  // tokens of one partial sum

struct RowScan {
  float max;        // -inf for a row of nothing else
  bool non_finite;  // NaN or +inf somewhere
};

struct RowMath {
  std::string_view name;
  RowScan (*scan)(const float* row, size_t n);
  // Sum of exp((row[i] - max) * scale). max is the row's largest, scale >= 0.
  double (*sum_exp)(const float* row, size_t n, double max, double scale);
  // weights[i] = exp((row[i] - max) * scale), or 0 where that is below `floor`; sums[b] = sum of
  // block b. weights has room for n rounded up to 8. Returns the sum of sums.
  double (*weigh)(const float* row, size_t n, double max, double scale, double floor,
                  double* weights, double* sums);
  // How many of row[0, n) are > x.
  size_t (*count_above)(const float* row, size_t n, float x);
  // First index i >= from, i a multiple of 64, where one of row[i, min(i + 64, n)) is > x; n if
  // none.
  size_t (*find_above)(const float* row, size_t n, size_t from, float x);
};

// The best that this machine has.
const RowMath& BestRowMath();
// All that this machine has, worst first.
std::span<const RowMath> AllRowMath();

// exp(x) for x <= 0 with the same bits as the passes above.
double RowExp(double x);

// A token's place in the order "larger logit first, then lower id".
struct RankedToken {
  float logit;
  uint32_t id;
};
inline bool RanksBefore(const RankedToken& a, const RankedToken& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// Leaves in `best` the first min(k, finite) tokens of that order, unsorted; -inf is never among
// them.
void SelectBest(std::span<const float> row, size_t k, std::vector<RankedToken>& best);

}  // namespace shardline
