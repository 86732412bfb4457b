// Which of the golden checkpoints have experts.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "tests/worker/models/golden.h"
#include "worker/models/open.h"

namespace shardline {

inline bool IsMixture(const std::string& golden) {
  const auto opened =
      OpenModel({.path = GoldenCheckpoint(golden), .dtype = "f32", .ops = &CpuOps()});
  EXPECT_TRUE(opened.ok()) << opened.status();
  const std::vector<Block>& blocks = opened->decoder->spec().blocks;
  return std::any_of(blocks.begin(), blocks.end(),
                     [](const Block& block) { return std::holds_alternative<Moe>(block.ffn); });
}

inline std::vector<std::string> GoldenMixtures() {
  std::vector<std::string> names = GoldenNames();
  std::erase_if(names, [](const std::string& name) { return !IsMixture(name); });
  return names;
}

}  // namespace shardline
