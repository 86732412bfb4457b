#include "shared/ipc/life_sign.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

namespace shardline {
namespace {

using namespace std::chrono_literals;

TEST(LifeSign, TellsLifeOrderlyEndAndSilentEndApart) {
  std::atomic<uint32_t> word{0};
  EXPECT_EQ(AwaitEnd(word, DeadlineAfter(1s)), LifeState::kReleased);
  {
    LifeSign sign(word);
    ASSERT_TRUE(sign.held());
    EXPECT_EQ(AwaitEnd(word, DeadlineAfter(1ms)), LifeState::kHeld);
  }
  EXPECT_EQ(word.load(), 0u);
  // A thread that ends with its sign up, as a killed one does. The sign outlives the thread's
  // stack.
  alignas(LifeSign) static std::byte memory[sizeof(LifeSign)];
  std::thread([&] { new (memory) LifeSign(word); }).join();
  EXPECT_EQ(AwaitEnd(word, DeadlineAfter(1s)), LifeState::kOwnerDied);
  LifeSign late(word);
  EXPECT_FALSE(late.held());  // never repaired
}

TEST(LifeSign, WakesAWaiter) {
  std::atomic<uint32_t> word{0};
  std::promise<void> up, down;
  std::thread owner([&] {
    LifeSign sign(word);
    up.set_value();
    down.get_future().wait();
  });
  up.get_future().wait();
  auto waiter = std::async(std::launch::async, [&] {
    LifeState state = LifeState::kHeld;
    const auto deadline = DeadlineAfter(60s);
    while (state == LifeState::kHeld && Clock::now() < deadline) state = AwaitEnd(word, deadline);
    return state;
  });
  std::this_thread::sleep_for(20ms);
  down.set_value();
  EXPECT_EQ(waiter.get(), LifeState::kReleased);
  owner.join();
}

TEST(LifeSign, OneHolderAtATime) {
  std::atomic<uint32_t> word{0};
  LifeSign sign(word);
  ASSERT_TRUE(sign.held());
  std::thread([&] {
    LifeSign second(word);
    EXPECT_FALSE(second.held());
  }).join();
  EXPECT_EQ(AwaitEnd(word, DeadlineAfter(1ms)), LifeState::kHeld);
}

}  // namespace
}  // namespace shardline
