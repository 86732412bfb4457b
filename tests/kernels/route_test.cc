// Routers: which experts a row of scores chooses and with which weights.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/ops.h"
#include "tests/kernels/tensor.h"

namespace shardline {
namespace {

using testing::AllCpuOps;
using testing::kNan;
using testing::Machine;
using testing::RoundTo;
using testing::Tensor;

// The choices and weights of one row of scores.
struct Routed {
  std::vector<uint32_t> ids;
  std::vector<double> weights;
};

Routed RouteOne(const Ops& ops, const Routing& routing, const std::vector<float>& scores,
                int64_t active, const std::vector<float>& bias = {}) {
  Machine machine(2);
  const auto n = static_cast<int64_t>(scores.size());
  Tensor row(DType::kF32, {1, n}), added(DType::kF32, {n}), weights(DType::kF32, {1, active});
  for (int64_t i = 0; i < n; ++i) row.Set(i, scores[i]);
  for (size_t i = 0; i < bias.size(); ++i) added.Set(i, bias[i]);
  Routed routed{.ids = std::vector<uint32_t>(active)};
  const View bias_view = added;
  ops.route(machine, routing, row, bias.empty() ? nullptr : &bias_view,
            View::Contiguous(routed.ids.data(), DType::kU32, {1, active}), weights);
  EXPECT_TRUE(weights.GuardIntact() && row.GuardIntact());
  for (int64_t k = 0; k < active; ++k) routed.weights.push_back(weights.Get(k));
  return routed;
}

using Ids = std::vector<uint32_t>;

TEST(Route, ChoosesTheLargestAndOfEqualsTheFirst) {
  for (const Ops* ops : AllCpuOps()) {
    const Routed all = RouteOne(*ops, {}, {0, 2, -1, 2, 1}, 2);
    EXPECT_EQ(all.ids, (Ids{1, 3}));
    const double sum = std::exp(-2) + 1 + std::exp(-3) + 1 + std::exp(-1);
    EXPECT_NEAR(all.weights[0], 1 / sum, 1e-6);
    EXPECT_NEAR(all.weights[1], 1 / sum, 1e-6);
    const Routed chosen = RouteOne(*ops, {.renormalise = true}, {0, 2, -1, 1.5f, 1}, 2);
    EXPECT_NEAR(chosen.weights[0], 1 / (1 + std::exp(-0.5)), 1e-6);
    EXPECT_NEAR(chosen.weights[0] + chosen.weights[1], 1, 1e-6);
    for (const Scoring scoring : {Scoring::kSoftmax, Scoring::kSigmoid}) {
      const Ids ids = RouteOne(*ops, {.scoring = scoring}, {-4, -3, kNan, -5, 3}, 2).ids;
      EXPECT_TRUE(ids[0] < 5 && ids[1] < 5 && ids[0] != ids[1]) << "whatever the scores are";
    }
  }
}

TEST(Route, BiasChoosesAndDoesNotWeigh) {
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  for (const Ops* ops : AllCpuOps()) {
    const Routing routing{.scoring = Scoring::kSigmoid, .scale = 2.5f};
    const Routed routed = RouteOne(*ops, routing, {1, 0, -1, 2}, 2, {0, 0, 5, -5});
    EXPECT_EQ(routed.ids, (Ids{2, 0}));
    EXPECT_NEAR(routed.weights[0], 2.5 * sigmoid(-1), 1e-6);
    EXPECT_NEAR(routed.weights[1], 2.5 * sigmoid(1), 1e-6);
    const Routing ones{.scoring = Scoring::kSigmoid, .renormalise = true, .epsilon = 0.5f};
    const Routed part = RouteOne(*ops, ones, {1, 0, -1, 2}, 2);
    EXPECT_NEAR(part.weights[0], sigmoid(2) / (sigmoid(2) + sigmoid(1) + 0.5), 1e-6);
  }
}

TEST(Route, GroupsLimitTheChoice) {
  // Three groups of two: {0, 9}, {6, 5}, {7, 1}, of which the sums and the largest order otherwise.
  const std::vector<float> scores = {0, 0.9f, 0.6f, 0.5f, 0.7f, 0.1f};
  for (const Ops* ops : AllCpuOps()) {
    Routing routing{.scoring = Scoring::kSigmoid, .groups = 3, .active_groups = 1};
    EXPECT_EQ(RouteOne(*ops, routing, scores, 2).ids, (Ids{1, 0}));
    routing.group_score = GroupScore::kSumOfTwoLargest;
    EXPECT_EQ(RouteOne(*ops, routing, scores, 2).ids, (Ids{2, 3}));
    routing.active_groups = 2;
    EXPECT_EQ(RouteOne(*ops, routing, scores, 3).ids, (Ids{1, 2, 3}));
    routing.active_groups = 3;
    EXPECT_EQ(RouteOne(*ops, routing, scores, 3).ids, (Ids{1, 4, 2}));
    routing.active_groups = 1;  // of equal groups the first, whose experts are equal too
    EXPECT_EQ(RouteOne(*ops, routing, {1, 1, 1, 1, 1, 1}, 2).ids, (Ids{0, 1}));
    const Ids ids = RouteOne(*ops, routing, std::vector<float>(6, kNan), 2).ids;
    EXPECT_EQ(ids, (Ids{0, 1})) << "whatever the scores are";
  }
}

TEST(Route, RoundsScoresAndWeights) {
  for (const Ops* ops : AllCpuOps()) {
    // One in bf16, whose step there is 1/128: equal, so the first.
    const std::vector<float> scores = {1.001f, 1.002f, 0};
    EXPECT_EQ(RouteOne(*ops, {}, scores, 1).ids, (Ids{1}));
    EXPECT_EQ(RouteOne(*ops, {.logits = DType::kBF16}, scores, 1).ids, (Ids{0}));
    for (const DType type : {DType::kBF16, DType::kF16}) {
      const Routed exact = RouteOne(*ops, {.renormalise = true}, scores, 3);
      const Routed routed = RouteOne(*ops, {.weights = type, .renormalise = true}, scores, 3);
      for (int64_t k = 0; k < 3; ++k) {
        EXPECT_EQ(routed.weights[k], RoundTo(type, static_cast<float>(exact.weights[k])));
      }
    }
  }
}

}  // namespace
}  // namespace shardline
