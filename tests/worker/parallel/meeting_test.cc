// Ranks of several nodes that meet: in any order, with terms that differ, and again.
#include "worker/parallel/meeting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

#include "shared/base/tcp_address.h"

namespace shardline {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

TEST(RanksText, NamesRuns) {
  EXPECT_EQ(RanksText({1}), "rank 1");
  EXPECT_EQ(RanksText({1, 2, 3}), "ranks 1-3");
  EXPECT_EQ(RanksText({1, 2, 5, 7, 8}), "ranks 1-2, 5, 7-8");
}

TEST(DifferenceFrom, NamesTheFlagAndBothValues) {
  const Terms zero = {{"--nodes", "2"}, {"--dtype", "f32"}, {"--empty", ""}};
  EXPECT_EQ(DifferenceFrom(Encode(zero), zero, 1), "");
  Terms other = zero;
  other[1].second = "bf16";
  EXPECT_EQ(DifferenceFrom(Encode(zero), other, 1), "--dtype is f32 on node 0 and bf16 on node 1");
  other = zero;
  other[0].first = "--elsewhere";
  EXPECT_THAT(DifferenceFrom(Encode(zero), other, 3), HasSubstr("the program"));
  other = zero;
  other.pop_back();
  EXPECT_THAT(DifferenceFrom(Encode(zero), other, 3), HasSubstr("the program"));
  EXPECT_THAT(DifferenceFrom("", zero, 3), HasSubstr("the program"));
}

// A socket that listens as long as the test runs, as node 0's gateway holds it.
class Place {
 public:
  Place() : fd_(*ListenAt("127.0.0.1", 0, "test")) {
    sockaddr_in own{};
    socklen_t size = sizeof(own);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&own), &size);
    port_ = ntohs(own.sin_port);
  }
  ~Place() { close(fd_); }
  MeetingOptions Options(int rank, int size) const {
    return {.host = "127.0.0.1",
            .port = port_,
            .listen_fd = rank == 0 ? dup(fd_) : -1,
            .rank = rank,
            .size = size,
            .node = rank,
            .epoch = rank == 0 ? epoch : 0,
            .terms = {{"--dtype", "f32"}}};
  }
  uint64_t epoch = 7;

 private:
  const int fd_;
  int port_ = 0;
};

std::future<absl::StatusOr<Met>> InThread(const MeetingOptions& options) {
  return std::async(std::launch::async, [options] { return Meet(options); });
}

TEST(Meet, EveryRankLearnsTheEpoch) {
  const Place place;
  auto last = InThread(place.Options(2, 3));  // the others first
  auto middle = InThread(place.Options(1, 3));
  const auto first = Meet(place.Options(0, 3));
  ASSERT_TRUE(first.ok()) << first.status();
  for (auto* met : {&middle, &last}) {
    const auto other = met->get();
    ASSERT_TRUE(other.ok()) << other.status();
    EXPECT_EQ(other->epoch, 7u);
  }
}

TEST(Meet, SaysForWhomItWaits) {
  const Place place;
  std::atomic<bool> said{false};
  MeetingOptions options = place.Options(0, 3);
  options.waiting = [&](const std::string& what) {
    if (what.find("ranks 1-2 at 127.0.0.1:") == 0) said = true;
  };
  auto first = InThread(options);
  while (!said) std::this_thread::sleep_for(5ms);
  auto middle = InThread(place.Options(1, 3));
  auto last = InThread(place.Options(2, 3));
  const auto met = first.get();  // its store lasts until the others have read it
  EXPECT_TRUE(met.ok());
  EXPECT_TRUE(middle.get().ok());
  EXPECT_TRUE(last.get().ok());
}

TEST(Meet, ADifferenceEndsBoth) {
  const Place place;
  MeetingOptions options = place.Options(1, 2);
  options.terms[0].second = "bf16";
  auto other = InThread(options);
  const auto first = Meet(place.Options(0, 2)), second = other.get();
  for (const auto* met : {&first, &second}) {
    EXPECT_TRUE(absl::IsInvalidArgument(met->status()));
    EXPECT_EQ(Message(met->status()), "--dtype is f32 on node 0 and bf16 on node 1");
  }
}

TEST(Meet, WhoComesAgainTakesPartInTheNextStart) {
  Place place;
  auto before = InThread(place.Options(1, 2));
  auto first = Meet(place.Options(0, 2));
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(before.get().ok());

  std::atomic<bool> waits{false};
  MeetingOptions options = place.Options(1, 2);
  options.waiting = [&](const std::string& what) {
    if (what.find("the next start") == 0) waits = true;
  };
  auto again = InThread(options);
  while (!waits) std::this_thread::sleep_for(5ms);
  first->store.reset();  // the end of that start
  place.epoch = 8;
  const auto next = Meet(place.Options(0, 2)), met = again.get();
  ASSERT_TRUE(next.ok()) << next.status();
  ASSERT_TRUE(met.ok()) << met.status();
  EXPECT_EQ(met->epoch, 8u);
}

// Two nodes with one --node-rank: while they wait, each hears of the other.
TEST(Meet, TwoOfOneRankAreTold) {
  Place place;
  std::atomic<bool> told{false};
  MeetingOptions options = place.Options(1, 3);
  options.waiting = [&](const std::string& what) {
    if (what.find("another process is rank 1 too: give each node a --node-rank") != what.npos) {
      told = true;
    }
  };
  auto first = InThread(place.Options(0, 3));
  auto one = InThread(options), two = InThread(options);
  while (!told) std::this_thread::sleep_for(5ms);
  auto last = InThread(place.Options(2, 3));
  auto met = first.get();
  ASSERT_TRUE(met.ok()) << met.status();
  EXPECT_TRUE(last.get().ok());
  while (one.wait_for(5ms) != std::future_status::ready &&
         two.wait_for(5ms) != std::future_status::ready) {
  }
  auto& left = one.wait_for(0ms) == std::future_status::ready ? two : one;
  met->store.reset();
  place.epoch = 8;
  auto next = InThread(place.Options(0, 3)), follows = InThread(place.Options(2, 3));
  const auto again = next.get();  // its store lasts until the others have read it
  EXPECT_TRUE(again.ok());
  EXPECT_TRUE(left.get().ok());
  EXPECT_TRUE(follows.get().ok());
}

TEST(Meet, NonsenseInTheStoreIsNobody) {
  const Place place;
  auto first = InThread(place.Options(0, 2));
  const MeetingOptions options = place.Options(1, 2);
  auto stranger = GlooStore::Open(options.host, options.port, -1, 30s);
  ASSERT_TRUE(stranger.ok()) << stranger.status();
  for (const char* go : {"", "garbage", " ", "x y", "8 1 2 3"}) {
    ASSERT_TRUE((*stranger)->Set("here/1", "").ok());
    ASSERT_TRUE((*stranger)->Set("go", go).ok());
  }
  auto second = InThread(options);
  const auto met = first.get(), other = second.get();
  ASSERT_TRUE(met.ok()) << met.status();
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(other->epoch, 7u);
}

TEST(Meet, AStoreThatDoesNotAnswerIsNotWaitedForForEver) {
  const Place place;  // takes connections and says nothing
  MeetingOptions options = place.Options(1, 2);
  options.patience = 300ms;
  const auto met = Meet(options);
  EXPECT_TRUE(absl::IsUnavailable(met.status()));
  EXPECT_THAT(Message(met.status()), HasSubstr("has stopped answering"));
}

}  // namespace
}  // namespace shardline
