#include "gateway/group_health.h"

#include <gtest/gtest.h>

namespace shardline {
namespace {

class GroupHealthTest : public testing::Test {
 protected:
  GroupHealth Make(size_t groups) {
    return GroupHealth(groups, {.ready = [this](bool value) { ready.push_back(value); },
                                .live = [this](bool value) { live.push_back(value); },
                                .gave_up =
                                    [this](int code, const std::string& why) {
                                      codes.push_back(code);
                                      reason = why;
                                    }});
  }
  // As a supervisor says that its worker serves, or no longer does.
  static void Up(GroupHealth& health, size_t group) {
    health.Live(group, true);
    health.Ready(group, true);
  }

  std::vector<bool> ready, live;  // as told
  std::vector<int> codes;
  std::string reason;
};

TEST_F(GroupHealthTest, ReadyWhileAnyGroupServes) {
  GroupHealth health = Make(2);
  health.Started(0);
  EXPECT_TRUE(ready.empty());
  Up(health, 0);
  health.Started(1);
  Up(health, 1);
  health.Ready(0, false);
  EXPECT_EQ(ready, std::vector<bool>{true});
  health.Ready(1, false);
  Up(health, 0);
  EXPECT_EQ(ready, (std::vector<bool>{true, false, true}));
  EXPECT_TRUE(live.empty());  // deaths are no standstill
}

TEST_F(GroupHealthTest, LiveUnlessOneStandsStillAndNoneServes) {
  GroupHealth health = Make(2);
  health.Started(0);
  Up(health, 0);
  health.Started(1);
  Up(health, 1);
  health.Live(0, false);
  health.Ready(0, false);
  EXPECT_TRUE(live.empty());  // the other serves
  health.Ready(1, false);
  EXPECT_EQ(live, std::vector<bool>{false});
  Up(health, 1);
  EXPECT_EQ(live, (std::vector<bool>{false, true}));
  health.Ready(1, false);
  Up(health, 0);
  EXPECT_EQ(live, (std::vector<bool>{false, true, false, true}));
}

TEST_F(GroupHealthTest, NotReadyWhileDraining) {
  GroupHealth health = Make(1);
  health.Started(0);
  Up(health, 0);
  health.StartDraining();
  health.Ready(0, false);
  Up(health, 0);
  EXPECT_EQ(ready, (std::vector<bool>{true, false}));
}

TEST_F(GroupHealthTest, ABadModelIsTheEndBeforeAnyHasServed) {
  GroupHealth health = Make(2);
  health.Started(0);
  EXPECT_TRUE(health.GaveUp(0, 2, ""));
  EXPECT_TRUE(health.GaveUp(1, 1, "too late"));
  EXPECT_EQ(codes, std::vector<int>{2});
}

TEST_F(GroupHealthTest, CodeTwoIsAFailedStartLikeOthersOnceOneHasServed) {
  GroupHealth health = Make(2);
  health.Started(0);
  Up(health, 0);
  health.Started(1);
  health.Ready(0, false);
  EXPECT_FALSE(health.GaveUp(1, 2, ""));
  EXPECT_TRUE(codes.empty());
}

TEST_F(GroupHealthTest, OverOnlyWhenEachHasFailedTooOften) {
  GroupHealth health = Make(3);
  health.Started(0);
  Up(health, 0);
  health.Started(1);
  health.Started(2);
  EXPECT_FALSE(health.GaveUp(1, 1, "one"));
  EXPECT_FALSE(health.GaveUp(1, 1, "one again"));
  Up(health, 2);
  health.Ready(0, false);
  EXPECT_FALSE(health.GaveUp(0, 1, "zero"));
  health.Ready(2, false);
  EXPECT_FALSE(health.GaveUp(1, 1, "one"));  // 2 has only begun to fail
  EXPECT_TRUE(health.GaveUp(2, 1, "two"));
  EXPECT_EQ(codes, std::vector<int>{1});
  EXPECT_EQ(reason, "two");
}

TEST_F(GroupHealthTest, OneThatNeverStartsIsOverThoughOthersWaitForIt) {
  GroupHealth health = Make(2);
  health.Started(0);
  EXPECT_TRUE(health.GaveUp(0, 1, "five times"));
  EXPECT_EQ(codes, std::vector<int>{1});
}

}  // namespace
}  // namespace shardline
