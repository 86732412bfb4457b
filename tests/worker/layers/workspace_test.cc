#include "worker/layers/workspace.h"

#include <gtest/gtest.h>

namespace shardline {
namespace {

TEST(Workspace, MeasuresWhatItLaterHandsOut) {
  const auto take = [](Workspace& workspace) {
    const View a = workspace.Take(DType::kF32, {3, 5});
    const View b = workspace.Take(DType::kBF16, {7});
    return std::pair(a, b);
  };
  Workspace measure;
  EXPECT_EQ(take(measure).first.data, nullptr);
  EXPECT_EQ(measure.used(), 128u);  // both rounded up to 64 bytes
  alignas(64) std::byte memory[128];
  Workspace real(memory, sizeof(memory));
  const auto [a, b] = take(real);
  EXPECT_EQ(a.data, memory);
  EXPECT_EQ(b.data, memory + 64);
  EXPECT_EQ(b.type, DType::kBF16);
  EXPECT_EQ(real.used(), measure.used());
}

}  // namespace
}  // namespace shardline
