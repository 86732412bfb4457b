// The group over TCP: three processes on the loopback interface that conform, die, stop and leave,
// and ranks that cannot meet.
#include "worker/parallel/gloo_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <barrier>
#include <cstring>
#include <functional>
#include <thread>

#include "shared/base/tcp_address.h"
#include "tests/worker/parallel/conformance.h"
#include "tests/worker/parallel/rank_processes.h"

namespace shardline {
namespace {

using namespace std::chrono_literals;
using testing::Fault;
using ::testing::HasSubstr;
using testing::Rig;

constexpr uint64_t kEpoch = 7;

// A socket of the test's at a port that is free.
class Meeting {
 public:
  explicit Meeting(const std::string& host = "127.0.0.1")
      : host_(host), fd_(*ListenAt(host, 0, "test")) {
    sockaddr_in own{};
    socklen_t size = sizeof(own);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&own), &size);
    port_ = ntohs(own.sin_port);
  }
  Meeting(const Meeting&) = delete;
  ~Meeting() { close(fd_); }
  int fd() const { return fd_; }
  int port() const { return port_; }
  GlooGroupOptions Options(int rank, int size, std::chrono::milliseconds limit = 60s) const {
    return {.host = host_,
            .port = port_,
            .listen_fd = rank == 0 ? dup(fd_) : -1,
            .rank = rank,
            .size = size,
            .epoch = kEpoch,
            .limit = limit};
  }

 private:
  const std::string host_;
  const int fd_;
  int port_ = 0;
};

// Runs `body` for every rank in a thread of its own; expects that all return "".
using Body = std::function<std::string(std::unique_ptr<GlooGroup>)>;
void OnThreads(int size, std::chrono::milliseconds limit, const Body& body,
               const std::string& host = "127.0.0.1") {
  const Meeting meeting(host);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      auto group = GlooGroup::Connect(meeting.Options(rank, size, limit));
      ASSERT_TRUE(group.ok()) << group.status();
      EXPECT_EQ(body(*std::move(group)), "") << "rank " << rank;
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(GlooThreads, OneRankConforms) {
  OnThreads(1, 60s, [](auto group) { return Conform(Rig{.group = *group}); });
}
TEST(GlooThreads, TwoRanksConform) {
  OnThreads(
      2, 60s, [](auto group) { return Conform(Rig{.group = *group}); }, "localhost");
}

TEST(GlooThreads, AMissingRankIsNamedAtTheLimit) {
  OnThreads(3, 300ms, [](std::unique_ptr<GlooGroup> group) -> std::string {
    if (!group->Barrier().ok()) return "the first barrier failed";
    if (group->rank() == 1) {  // stays, but does not come
      std::this_thread::sleep_for(1s);
      return group->Barrier().ok() ? "a late rank joins again" : "";
    }
    const absl::Status status = testing::CallUntilItFails(*group);
    if (!absl::IsDeadlineExceeded(status)) return status.ToString();
    return Message(status) == "group: rank 1 has not come to AllReduce within 0.3 s"
               ? ""
               : Message(status);
  });
}

// A reason reaches the others while the rank that has it is there: nobody leaves before all know.
TEST(GlooThreads, AbortWakesEverybody) {
  std::barrier all_know(3);
  OnThreads(3, 300s, [&](std::unique_ptr<GlooGroup> group) -> std::string {
    if (group->rank() == 2) {
      std::thread([&] { group->Abort("out of memory"); }).join();
      const bool works = group->Barrier().ok();
      all_know.arrive_and_wait();
      return works ? "works on" : "";
    }
    const absl::Status status = group->Barrier();
    all_know.arrive_and_wait();
    if (!absl::IsUnavailable(status)) return status.ToString();
    return Message(status) == "group: ended by rank 2: out of memory" ? "" : Message(status);
  });
}

TEST(GlooThreads, ARankThatLeavesHasDoneItsPart) {
  for (int round = 0; round < 5; ++round) {
    OnThreads(3, 300s, [](std::unique_ptr<GlooGroup> group) -> std::string {
      testing::Array data(DType::kI32, 500000);
      const auto status = group->Broadcast(data.view(), 0);  // rank 0 leaves at once
      return status.ok() ? "" : Message(status);
    });
  }
}

TEST(GlooThreads, UnlikeCallsAreRefused) {
  std::barrier all_know(2);
  OnThreads(2, 300s, [&](std::unique_ptr<GlooGroup> group) -> std::string {
    testing::Array data(DType::kF32, 100 + group->rank());
    std::memset(data.view().data, 0, data.view().bytes());
    const auto status = group->AllReduce(data.view());
    all_know.arrive_and_wait();
    return Message(status).find("calls AllReduce of 40") != std::string::npos ? ""
                                                                              : status.ToString();
  });
}

// ---- joining ----

std::string ErrorOf(const GlooGroupOptions& options) {
  return Message(GlooGroup::Connect(options).status());
}

TEST(GlooConnect, RefusesWhatDoesNotFit) {
  GlooGroupOptions options{.host = "127.0.0.1", .port = 1, .rank = 0, .size = 2, .epoch = 1};
  options.rank = 2;
  EXPECT_EQ(ErrorOf(options), "group: rank 2 of 2 does not exist");
  options.rank = 0, options.epoch = 0;
  EXPECT_EQ(ErrorOf(options), "group: epoch is 0");
  options.epoch = 1, options.port = 70000;
  EXPECT_EQ(ErrorOf(options), "--rendezvous: port 70000 is not from 1 to 65535");
  options.port = 1, options.host = "no.such.host.invalid";
  EXPECT_THAT(ErrorOf(options), HasSubstr("--rendezvous: no address for 'no.such.host.invalid'"));
}

TEST(GlooConnect, ATakenPortIsNamed) {
  const Meeting meeting;
  GlooGroupOptions options = meeting.Options(1, 2);
  options.rank = 0;
  EXPECT_EQ(ErrorOf(options), Cat("--rendezvous: cannot listen at 127.0.0.1:", meeting.port(),
                                  ": Address already in use"));
}

TEST(GlooConnect, NobodyThere) {
  int port = 0;
  { port = Meeting().port(); }
  EXPECT_EQ(
      ErrorOf({.host = "127.0.0.1",
               .port = port,
               .rank = 1,
               .size = 2,
               .epoch = kEpoch,
               .limit = 100ms}),
      Cat("--rendezvous: rank 0 does not answer at 127.0.0.1:", port, ": Connection refused"));
}

TEST(GlooConnect, RanksThatNeverComeAreNamed) {
  const Meeting meeting;
  EXPECT_EQ(ErrorOf(meeting.Options(0, 3, 300ms)),
            Cat("group: rank 1, 2 has not joined within 0.3 s (--rendezvous 127.0.0.1:",
                meeting.port(), ", --nodes)"));
}

TEST(GlooConnect, AnotherEpochNeverMeets) {
  const Meeting meeting;
  GlooGroupOptions other = meeting.Options(1, 2, 1s);
  other.epoch = kEpoch + 1;
  std::thread stranger([&] { EXPECT_THAT(ErrorOf(other), HasSubstr("--rendezvous")); });
  EXPECT_THAT(ErrorOf(meeting.Options(0, 2, 500ms)), HasSubstr("rank 1 has not joined"));
  stranger.join();
}

TEST(GlooConnect, ARankIsTakenOnce) {
  const Meeting meeting;
  // Keeps the meeting place open for much longer than the others wait.
  std::thread first([&] { (void)GlooGroup::Connect(meeting.Options(0, 3, 8s)); });
  const auto second = meeting.Options(1, 3, 2s);
  std::string errors[2];
  std::thread twin([&] { errors[0] = ErrorOf(second); });
  errors[1] = ErrorOf(second);
  twin.join();
  first.join();
  EXPECT_THAT(errors, ::testing::Contains("group: rank 1 is taken"));
}

TEST(GlooConnect, SizesAgree) {
  const Meeting meeting;
  std::string errors[2];
  std::thread first([&] { errors[0] = ErrorOf(meeting.Options(0, 3, 8s)); });
  errors[1] = ErrorOf(meeting.Options(2, 4, 8s));
  first.join();
  EXPECT_THAT(errors, ::testing::Contains(HasSubstr("others are of")));
}

// ---- processes ----

TEST(GlooProcesses, ThreeRanksConform) {
  const Meeting meeting;
  testing::RunRanks(3, {.role = "conform", .detail = "300"}, meeting.fd());
}

class GlooFault : public ::testing::TestWithParam<Fault> {};
TEST_P(GlooFault, EndsTheOthers) {
  const Fault& fault = GetParam();
  const Meeting meeting;
  testing::RunRanks(3, {.role = fault.role, .detail = fault.limit, .expect = fault.expect},
                    meeting.fd());
}
// Only a stopped rank takes up to the limit to be noticed.
INSTANTIATE_TEST_SUITE_P(
    OfTheLastRank, GlooFault,
    ::testing::Values(Fault{"kill", "600", "died"}, Fault{"exit", "600", "died"},
                      Fault{"leave", "600", "rank 2 left"},
                      Fault{"stop", "2", "rank 2 has not come to AllReduce within 2 s"},
                      Fault{"abort", "600", "ended by rank 2: the test says so"}),
    testing::RoleOf);

// The descriptor is the test's listening socket: rank 0 uses it, the others learn the port from it.
absl::StatusOr<std::unique_ptr<ProcessGroup>> Join(const testing::RankArguments& arguments) {
  sockaddr_in meeting{};
  socklen_t size = sizeof(meeting);
  getsockname(testing::kJoinDescriptor, reinterpret_cast<sockaddr*>(&meeting), &size);
  const bool first = arguments.rank == 0;
  if (!first) close(testing::kJoinDescriptor);
  return GlooGroup::Connect({.host = "127.0.0.1",
                             .port = ntohs(meeting.sin_port),
                             .listen_fd = first ? testing::kJoinDescriptor : -1,
                             .rank = arguments.rank,
                             .size = arguments.size,
                             .epoch = kEpoch,
                             .limit = arguments.limit()});
}

}  // namespace
}  // namespace shardline

int main(int argc, char** argv) {
  return shardline::testing::RunTestsOrRank(argc, argv, shardline::Join);
}
