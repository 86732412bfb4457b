// Ranks that load for unequal times, and one that fails meanwhile.
#include "worker/parallel/roll_call.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "worker/parallel/shm_group.h"

namespace shardline {
namespace {

using namespace std::chrono_literals;

template <typename Body>
void OnRanks(int size, const Body& body) {
  const auto fd = ShmGroup::CreateSegment(size, 7);
  ASSERT_TRUE(fd.ok()) << fd.status();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      auto group = ShmGroup::Attach(
          dup(*fd), {.rank = rank, .size = size, .epoch = 7, .limit = std::chrono::seconds(300)});
      ASSERT_TRUE(group.ok()) << group.status();
      body(**group);
    });
  }
  for (std::thread& thread : threads) thread.join();
  close(*fd);
}

TEST(RollCall, WhoIsDoneHearsThatAnotherGetsOn) {
  std::atomic<int> heard{0};
  OnRanks(3, [&](ProcessGroup& group) {
    const bool slow = group.rank() == 2;
    RollCall roll(group, {.headway = [&] { heard += slow ? 0 : 1; }});
    while (slow && heard < 4) {  // each of the others twice
      roll.Headway();
      std::this_thread::sleep_for(10ms);
    }
    EXPECT_TRUE(roll.Done().ok());
    EXPECT_TRUE(group.Barrier().ok());  // and the group is as before
  });
  EXPECT_GE(heard, 4);
}

TEST(RollCall, ARankThatFailsIsNoticedWhileOthersLoad) {
  std::atomic<int> noticed{0};
  OnRanks(3, [&](ProcessGroup& group) {
    if (group.rank() == 0) return group.Abort("gone");
    RollCall roll(group, {.failed = [&](const absl::Status& why) {
                    EXPECT_TRUE(absl::IsUnavailable(why)) << why;
                    ++noticed;
                  }});
    while (noticed < 2) std::this_thread::sleep_for(5ms);
    EXPECT_FALSE(roll.Done().ok());
  });
}

TEST(RollCall, EndsWithoutDone) {
  OnRanks(2, [&](ProcessGroup& group) {
    RollCall roll(group, {});
    if (group.rank() == 0) return;
    EXPECT_FALSE(roll.Done().ok());
  });
}

}  // namespace
}  // namespace shardline
