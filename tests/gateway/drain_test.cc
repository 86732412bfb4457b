#include "gateway/drain.h"

#include <gtest/gtest.h>

namespace shardline {
namespace {

TEST(Drain, TheEarliestDeadlineHolds) {
  int wakes = 0;
  Drain drain([&wakes] { ++wakes; });
  EXPECT_FALSE(drain.deadline().has_value());
  const Clock::time_point now = Clock::now();
  drain.Begin(now + std::chrono::seconds(20));
  drain.Begin(now + std::chrono::seconds(5));
  drain.Begin(now + std::chrono::seconds(10));
  EXPECT_EQ(drain.deadline(), now + std::chrono::seconds(5));
  EXPECT_EQ(wakes, 3);
}

TEST(Drain, TellsWhatIsNewToWhoeverStillListens) {
  Drain drain([] {});
  std::vector<Drain::Progress> first, second;
  const auto listen = [](std::vector<Drain::Progress>& to) {
    return std::make_shared<Drain::Listener>([&to](const Drain::Progress& p) { to.push_back(p); });
  };
  auto a = listen(first);
  drain.Begin(Clock::now(), a);
  drain.Tell({.remaining_requests = 2});
  drain.Tell({.remaining_requests = 2});
  ASSERT_EQ(first.size(), 1u);
  const auto b = listen(second);
  drain.Begin(Clock::now(), b);
  drain.Tell({.remaining_requests = 2});  // not news for the first, but for the second
  EXPECT_EQ(second.size(), 1u);
  a.reset();
  drain.Tell({.done = true});
  EXPECT_EQ(first.size(), 2u);
  ASSERT_EQ(second.size(), 2u);
  EXPECT_TRUE(second[1].done);
}

}  // namespace
}  // namespace shardline
