// Step plans from rank 0 to the others, and what ranks agree on.
#include "worker/parallel/plan_broadcast.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "shared/ipc/message.h"
#include "tests/worker/models/thread_group.h"
#include "worker/parallel/agree.h"

namespace shardline {
namespace {

using Order = PlanBroadcast::Order;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kEpoch = 5;

void OnRanks(int size, const std::function<void(ProcessGroup&)>& body) {
  ThreadRanks ranks(size);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] { body(*ranks.Rank(rank)); });
  }
  for (std::thread& thread : threads) thread.join();
}

// One prompt of so many tokens, all of them wanted.
StepPlan PlanOf(uint32_t tokens) {
  StepPlan plan;
  plan.step = tokens;
  plan.rows.push_back({.slot = 1,
                       .token_count = static_cast<int32_t>(tokens),
                       .wanted_count = tokens,
                       .prompt_tokens = tokens,
                       .form = RowForm::kPrompt});
  for (uint32_t i = 0; i < tokens; ++i) {
    plan.tokens.push_back(i * 7);
    plan.wanted.push_back(i);
  }
  plan.blocks.push_back({1, 0, 0, 3, 2});
  return plan;
}

std::vector<std::byte> Encoded(const StepPlan& plan) {
  std::vector<std::byte> bytes;
  Encode(plan, bytes);
  return bytes;
}

TEST(PlanBroadcast, PlansOfEverySizeArriveAsTheyWere) {
  // A page holds 496 of these tokens or so: below, at and beyond its end.
  std::vector<uint32_t> sizes = {1, 64, 5000, 100000};
  for (uint32_t size = 480; size < 520; ++size) sizes.push_back(size);
  OnRanks(3, [&](ProcessGroup& group) {
    PlanBroadcast plans(group, kEpoch);
    for (const uint32_t size : sizes) {
      const StepPlan sent = PlanOf(size);
      if (group.rank() == 0) {
        ASSERT_TRUE(plans.Step(sent).ok());
        continue;
      }
      StepPlan plan;
      const auto order = plans.Next(plan);
      ASSERT_TRUE(order.ok()) << order.status();
      EXPECT_EQ(*order, Order::kStep);
      EXPECT_EQ(Encoded(plan), Encoded(sent));
    }
  });
}

TEST(PlanBroadcast, OrdersWithoutAPlan) {
  OnRanks(2, [](ProcessGroup& group) {
    PlanBroadcast plans(group, kEpoch);
    if (group.rank() == 0) {
      ASSERT_TRUE(plans.Step(PlanOf(3)).ok() && plans.Wait().ok() && plans.Stop().ok());
      return;
    }
    StepPlan plan;
    std::vector<Order> orders;
    for (int i = 0; i < 3; ++i) orders.push_back(*plans.Next(plan));
    EXPECT_THAT(orders, ElementsAre(Order::kStep, Order::kWait, Order::kStop));
  });
}

TEST(PlanBroadcast, APlanOfAnotherStartOfTheGroupIsRefused) {
  OnRanks(2, [](ProcessGroup& group) {
    PlanBroadcast plans(group, kEpoch + group.rank());
    StepPlan plan;
    if (group.rank() == 0) {
      ASSERT_TRUE(plans.Step(PlanOf(3)).ok());
    } else {
      EXPECT_THAT(Message(plans.Next(plan).status()), HasSubstr("epoch 5"));
    }
  });
}

// Valid pages with some bytes changed: refused, or a plan that is well formed. Rank 0 sends what a
// changed length would make the other wait for.
TEST(PlanBroadcast, HostilePages) {
  OnRanks(2, [](ProcessGroup& group) {
    std::mt19937 random(11);
    const std::vector<std::byte> payload = Encoded(PlanOf(20));
    int refused = 0;
    for (int round = 0; round < 3000; ++round) {
      alignas(64) std::array<std::byte, PlanBroadcast::kPageBytes> page{};
      const uint64_t head[] = {kEpoch, 1, payload.size()};
      std::memcpy(page.data(), head, sizeof(head));
      std::memcpy(page.data() + sizeof(head), payload.data(), payload.size());
      for (int changes = 1 + random() % 3; changes > 0; --changes) {
        const size_t at = random() % (sizeof(head) + payload.size());
        page[at] = static_cast<std::byte>(random());
      }
      uint64_t bytes;
      std::memcpy(&bytes, page.data() + 16, 8);
      if (bytes > PlanBroadcast::kPageBytes - sizeof(head)) {
        std::memset(page.data() + 16 + 4, 0xff, 4);  // more than a plan may have: no second page
      }
      if (group.rank() == 0) {
        const View view = View::Contiguous(page.data(), DType::kU8, {PlanBroadcast::kPageBytes});
        ASSERT_TRUE(group.Broadcast(view, 0).ok());
        continue;
      }
      PlanBroadcast plans(group, kEpoch);
      StepPlan plan;
      const auto order = plans.Next(plan);
      refused += order.ok() ? 0 : 1;
      if (order.ok() && *order == Order::kStep) {
        EXPECT_TRUE(Decode<StepPlan>(Encoded(plan)).ok());
      }
    }
    if (group.rank() == 1) {
      EXPECT_GT(refused, 100);
      EXPECT_LT(refused, 3000);
    }
  });
}

TEST(Agree, AllWellIsOk) {
  OnRanks(3, [](ProcessGroup& group) {
    absl::Status all = Internal("not set");
    ASSERT_TRUE(Agree(group, absl::OkStatus(), all).ok());
    EXPECT_TRUE(all.ok()) << all;
  });
}

TEST(Agree, TheFirstRanksErrorIsEverybodys) {
  OnRanks(4, [](ProcessGroup& group) {
    const int rank = group.rank();
    const absl::Status own = rank == 1   ? InvalidArgument("model: ", std::string(5000, 'x'))
                             : rank == 3 ? Internal("later")
                                         : absl::OkStatus();
    absl::Status all;
    ASSERT_TRUE(Agree(group, own, all).ok());
    EXPECT_TRUE(absl::IsInvalidArgument(all)) << all;
    EXPECT_THAT(Message(all), HasSubstr("model: xxx"));
    EXPECT_LT(Message(all).size(), 2048u);
  });
}

TEST(Agree, WordsComeRankByRank) {
  OnRanks(3, [](ProcessGroup& group) {
    const uint64_t rank = group.rank();
    const std::array<uint64_t, 2> own = {rank, 10 * rank};
    const auto all = GatherWords(group, own);
    ASSERT_TRUE(all.ok()) << all.status();
    EXPECT_THAT(*all, ElementsAre(0, 0, 1, 10, 2, 20));
  });
}

}  // namespace
}  // namespace shardline
