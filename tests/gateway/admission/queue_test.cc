#include "gateway/admission/queue.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace shardline {
namespace {

TEST(AdmissionQueue, PriorityThenArrival) {
  AdmissionQueue queue({.max_requests = 10, .max_tokens = 100});
  ASSERT_TRUE(queue.Push(1, 0, 1).ok());
  ASSERT_TRUE(queue.Push(2, 5, 1).ok());
  ASSERT_TRUE(queue.Push(3, 0, 1).ok());
  ASSERT_TRUE(queue.Push(4, -2147483648, 1).ok());
  ASSERT_TRUE(queue.Push(5, 2147483647, 1).ok());
  ASSERT_TRUE(queue.Push(6, 5, 1).ok());
  std::vector<RequestKey> order;
  while (const RequestKey key = queue.Front()) {
    order.push_back(key);
    EXPECT_TRUE(queue.Remove(key));
  }
  EXPECT_EQ(order, (std::vector<RequestKey>{5, 2, 6, 1, 3, 4}));
  EXPECT_EQ(queue.tokens(), 0u);
}

TEST(AdmissionQueue, BoundedByRequestsAndByTokens) {
  AdmissionQueue queue({.max_requests = 2, .max_tokens = 100});
  ASSERT_TRUE(queue.Push(1, 0, 60).ok());
  const absl::Status tokens = queue.Push(2, 0, 41);
  EXPECT_TRUE(absl::IsResourceExhausted(tokens));
  EXPECT_NE(Message(tokens).find("--max-queued-tokens"), std::string::npos);
  ASSERT_TRUE(queue.Push(3, 0, 40).ok());
  const absl::Status requests = queue.Push(4, 0, 0);
  EXPECT_TRUE(absl::IsResourceExhausted(requests));
  EXPECT_NE(Message(requests).find("--max-queued-requests"), std::string::npos);
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_TRUE(queue.Remove(1));
  EXPECT_FALSE(queue.Remove(1));
  EXPECT_EQ(queue.tokens(), 40u);
  EXPECT_TRUE(queue.Push(5, 0, 60).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(queue.Push(6, 0, ~uint64_t{0})));
}

TEST(AdmissionQueue, CountsStayRightUnderRandomUse) {
  std::mt19937 random(1);
  AdmissionQueue queue({.max_requests = 50, .max_tokens = 1000});
  std::vector<std::pair<RequestKey, uint64_t>> inside;
  RequestKey next = 1;
  for (int i = 0; i < 20000; ++i) {
    if (random() % 2 == 0) {
      const uint64_t tokens = random() % 60;
      uint64_t sum = tokens;
      for (const auto& entry : inside) sum += entry.second;
      const bool fits = inside.size() < 50 && sum <= 1000;
      EXPECT_EQ(queue.Push(next, static_cast<int32_t>(random() % 3), tokens).ok(), fits);
      if (fits) inside.emplace_back(next, tokens);
      ++next;
    } else if (!inside.empty()) {
      const size_t at = random() % inside.size();
      EXPECT_TRUE(queue.Remove(inside[at].first));
      inside.erase(inside.begin() + static_cast<long>(at));
    }
    ASSERT_EQ(queue.size(), inside.size());
    ASSERT_EQ(queue.Front() == 0, inside.empty());
  }
}

}  // namespace
}  // namespace shardline
