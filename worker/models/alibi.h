// The slopes of linear position biases, by the two rules in use. They agree where the number of
// heads is a power of two. Source: https://arxiv.org/abs/2108.12409
#pragma once

#include <cstdint>
#include <vector>

namespace shardline {

// The paper's code and Falcon: for heads beyond the last power of two, every other slope of twice
// as many.
std::vector<float> PressSlopes(int64_t heads);
// MPT: of the next power of two, first those at odd places, then the others. `most`: the exponent
// of the last slope.
std::vector<float> MptSlopes(int64_t heads, double most);

void RoundToBf16(std::vector<float>& values);

}  // namespace shardline
