// Slopes in f32, in the order of operations of transformers.
#include "worker/models/alibi.h"

#include <bit>
#include <cmath>

#include "kernels/half.h"

namespace shardline {

std::vector<float> PressSlopes(int64_t heads) {
  const auto below = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(heads)));
  const auto base_of = [](int64_t n) {
    return static_cast<float>(std::exp2(-std::exp2(3 - std::log2(static_cast<double>(n)))));
  };
  std::vector<float> slopes;
  for (int64_t i = 1; i <= below; ++i) {
    slopes.push_back(std::pow(base_of(below), static_cast<float>(i)));
  }
  for (int64_t i = 1; static_cast<int64_t>(slopes.size()) < heads; i += 2) {
    slopes.push_back(std::pow(base_of(2 * below), static_cast<float>(i)));
  }
  return slopes;
}

std::vector<float> MptSlopes(int64_t heads, double most) {
  const auto above = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(heads)));
  const auto step = static_cast<float>(most / static_cast<double>(above));
  std::vector<float> all;
  for (int64_t i = 1; i <= above; ++i) {
    all.push_back(1.0f / std::exp2(static_cast<float>(i) * step));
  }
  if (above == heads) return all;
  std::vector<float> slopes;
  for (int64_t first : {1, 0}) {
    for (int64_t i = first; i < above; i += 2) slopes.push_back(all[i]);
  }
  slopes.resize(heads);
  return slopes;
}

void RoundToBf16(std::vector<float>& values) {
  for (float& x : values) x = WidenBf16(RoundToBf16(x));
}

}  // namespace shardline
