#include "worker/parallel/process_group.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/worker/parallel/conformance.h"

namespace shardline {
namespace {

TEST(SingleProcess, ExchangesWithItself) {
  const auto group = SingleProcess();
  EXPECT_EQ(group->rank(), 0);
  EXPECT_EQ(group->size(), 1);
  std::array<float, 3> in{1, 2, 3}, out{};
  const View from = View::Contiguous(in.data(), DType::kF32, {3});
  const View to = View::Contiguous(out.data(), DType::kF32, {3});
  EXPECT_TRUE(group->AllReduce(from).ok());
  EXPECT_EQ(in, (std::array<float, 3>{1, 2, 3}));
  EXPECT_TRUE(group->AllGather(from, to).ok());
  EXPECT_EQ(out, in);
  EXPECT_TRUE(group->Broadcast(from, 0).ok());
  EXPECT_TRUE(group->Barrier().ok());
}

TEST(SingleProcess, RefusesOtherRanksAndSizes) {
  const auto group = SingleProcess();
  std::array<float, 3> data{};
  const View all = View::Contiguous(data.data(), DType::kF32, {3});
  const View part = View::Contiguous(data.data(), DType::kF32, {2});
  EXPECT_FALSE(group->Broadcast(all, 1).ok());
  EXPECT_FALSE(group->AllGather(all, part).ok());
}

TEST(SingleProcess, Conforms) {
  const auto group = SingleProcess();
  std::atomic<int> arrivals{0};
  EXPECT_EQ(testing::Conform({.group = *group, .arrivals = &arrivals}), "");
}

TEST(SingleProcess, EndsOnAbort) {
  const auto group = SingleProcess();
  group->Abort("enough");
  EXPECT_EQ(group->Barrier(), absl::UnavailableError("enough"));
}

}  // namespace
}  // namespace shardline
