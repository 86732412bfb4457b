// The channel between two processes, one of which is killed or stopped. The peer is this program
// again, with `--peer ROLE`; descriptor 3 is the channel, 4 a pipe for news.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <future>
#include <random>
#include <thread>

#include "shared/base/process.h"
#include "shared/ipc/channel.h"
#include "tests/shared/ipc/message_samples.h"
#include "tests/shared/ipc/ring_fixture.h"

namespace shardline {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr uint64_t kEpoch = 21;
constexpr auto kSoon = 2s;  // far above the milliseconds it takes, far below the waits' limits

// ---- the peer ----

int Fail(const absl::Status& status) {
  fprintf(stderr, "peer: %s\n", status.ToString().c_str());
  return 1;
}

int Echo(Channel& channel) {  // sends every record back, until the gateway closes
  for (;;) {
    const auto got = channel.Receive(60s);
    if (absl::IsUnavailable(got.status())) return 0;
    if (!got.ok()) return Fail(got.status());
    if (!got->has_value()) return 3;
    const absl::Status sent = channel.SendBytes((*got)->kind, (*got)->payload, 60s);
    if (absl::IsUnavailable(sent)) return 0;
    if (!sent.ok()) return Fail(sent);
  }
}

int Peer(const std::string& role) {
  auto channel = Channel::Attach(3, kEpoch);
  if (!channel.ok()) return Fail(channel.status());
  if (role == "echo") return Echo(**channel);
  if (role == "idle") {  // attached, reads nothing
    std::this_thread::sleep_for(60s);
    return 3;
  }
  if (role == "exit") {  // sends two records and leaves without closing
    (void)(*channel)->Send(Sample<Finished>(), 1s);
    (void)(*channel)->Send(Sample<Finished>(), 1s);
    _exit(0);
  }
  // What a worker does whose gateway dies: tells on the pipe how its wait ended.
  const auto news = [](const absl::Status& status) {
    const char letter = absl::IsUnavailable(status) ? 'u' : 'x';
    (void)!write(4, &letter, 1);
    return 0;
  };
  if (write(4, "r", 1) != 1) return 3;  // ready
  if (role == "await-message") return news((*channel)->Receive(60s).status());
  if (role == "await-room") {
    const std::vector<std::byte> payload(1000);
    absl::Status status;
    while (status.ok()) status = (*channel)->SendBytes(MessageKind::kTokens, payload, 60s);
    return news(status);
  }
  return 3;
}

absl::StatusOr<Process> StartPeer(const std::string& role, std::vector<int> descriptors) {
  return Process::Spawn({.program = "/proc/self/exe",
                         .arguments = {"--peer", role},
                         .descriptors = std::move(descriptors)});
}

// A gateway that starts a worker, then waits to be killed.
int Gateway(const std::string& worker_role) {
  auto channel = Channel::Create({.ring_bytes = 4096}, kEpoch);
  if (!channel.ok()) return Fail(channel.status());
  auto worker = StartPeer(worker_role, {(*channel)->fd(), 3});
  if (!worker.ok()) return Fail(worker.status());
  std::this_thread::sleep_for(60s);
  return 3;
}

// ---- the tests ----

struct Pair {
  std::unique_ptr<Channel> channel;
  Process peer;
};
Pair Start(const std::string& role, uint64_t ring_bytes = 4096) {
  auto channel = Channel::Create({.ring_bytes = ring_bytes}, kEpoch);
  EXPECT_TRUE(channel.ok()) << channel.status();
  auto peer = StartPeer(role, {(*channel)->fd()});
  EXPECT_TRUE(peer.ok()) << peer.status();
  EXPECT_TRUE((*channel)->WatchProcess(peer->pid()).ok());
  const auto deadline = DeadlineAfter(20s);
  while (role != "exit" && !(*channel)->peer_attached() && Clock::now() < deadline) {
    std::this_thread::sleep_for(1ms);
  }
  return {*std::move(channel), *std::move(peer)};
}

TEST(ChannelProcesses, RandomRecordsComeBackWhole) {
  Pair pair = Start("echo", 64 << 10);
  std::thread sender([&] {
    std::mt19937 random(3);
    std::vector<std::byte> payload;
    for (uint32_t i = 0; i < 5000; ++i) {
      FillPayload(payload, i, random() % 16 == 0 ? random() % 60000 : random() % 300);
      const absl::Status sent = pair.channel->SendBytes(MessageKind::kSubmit, payload, 60s);
      ASSERT_TRUE(sent.ok()) << sent;
    }
  });
  std::mt19937 random(3);
  std::vector<std::byte> want;
  for (uint32_t i = 0; i < 5000; ++i) {
    FillPayload(want, i, random() % 16 == 0 ? random() % 60000 : random() % 300);
    const auto got = pair.channel->Receive(60s);
    ASSERT_TRUE(got.ok() && got->has_value()) << i << got.status();
    ASSERT_TRUE(
        std::equal(want.begin(), want.end(), (*got)->payload.begin(), (*got)->payload.end()));
  }
  sender.join();
  pair.channel->Close();
  EXPECT_EQ(Describe(pair.peer.Wait(20s).value()), "exit code 0");
}

TEST(ChannelProcesses, KilledWorkerEndsAWaitForMessages) {
  Pair pair = Start("idle");
  std::promise<absl::Status> gone;
  pair.channel->OnPeerGone([&](const absl::Status& status) { gone.set_value(status); });
  auto receiver =
      std::async(std::launch::async, [&] { return pair.channel->Receive(60s).status(); });
  std::this_thread::sleep_for(20ms);
  const auto start = Clock::now();
  pair.peer.Signal(SIGKILL);
  const absl::Status status = receiver.get();
  const auto took = Clock::now() - start;
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(Message(status), HasSubstr("the worker died"));
  EXPECT_LT(took, kSoon);
  EXPECT_TRUE(absl::IsUnavailable(gone.get_future().get()));
  RecordProperty("noticed_us", static_cast<int>(took / 1us));
}

TEST(ChannelProcesses, KilledWorkerEndsAWaitForRoom) {
  Pair pair = Start("idle");
  auto sender = std::async(std::launch::async, [&] {
    absl::Status status;
    while (status.ok()) status = pair.channel->Send(Sample<Submit>(), 60s);
    return status;
  });
  std::this_thread::sleep_for(50ms);
  const auto start = Clock::now();
  pair.peer.Signal(SIGKILL);
  EXPECT_THAT(Message(sender.get()), HasSubstr("the worker died"));
  EXPECT_LT(Clock::now() - start, kSoon);
}

TEST(ChannelProcesses, WorkerThatDiesBeforeItAttachesIsNoticed) {
  auto channel = Channel::Create({.ring_bytes = 4096}, kEpoch);
  ASSERT_TRUE(channel.ok());
  auto peer = Process::Spawn({.program = "/bin/false"});
  ASSERT_TRUE(peer.ok());
  const absl::Status watched = (*channel)->WatchProcess(peer->pid());
  ASSERT_TRUE(watched.ok())
      << watched;  // not reaped yet, so it can be watched even if it has ended
  const auto start = Clock::now();
  EXPECT_THAT(Message((*channel)->Receive(60s).status()), HasSubstr("the worker died"));
  EXPECT_LT(Clock::now() - start, kSoon);
}

TEST(ChannelProcesses, WorkerThatExitsWithoutClosingHasDiedAndItsRecordsArrive) {
  Pair pair = Start("exit");
  for (int i = 0; i < 2; ++i) {
    const auto got = pair.channel->Receive(60s);
    ASSERT_TRUE(got.ok() && got->has_value()) << got.status();
    EXPECT_EQ((*got)->kind, MessageKind::kFinished);
  }
  EXPECT_THAT(Message(pair.channel->Receive(60s).status()), HasSubstr("the worker died"));
}

TEST(ChannelProcesses, StoppedWorkerDoesNotHoldUpTimeLimits) {
  Pair pair = Start("echo");
  pair.peer.Signal(SIGSTOP);
  absl::Status status;
  const auto start = Clock::now();
  while (status.ok()) status = pair.channel->Send(Sample<Submit>(), 100ms);
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_FALSE(pair.channel->Receive(100ms)->has_value());
  EXPECT_GE(Clock::now() - start, 200ms);
  EXPECT_LT(Clock::now() - start, 20s);
  pair.peer.Signal(SIGCONT);
  EXPECT_TRUE(pair.channel->Receive(20s)->has_value());  // and it goes on
}

class KilledGateway : public ::testing::TestWithParam<const char*> {};
TEST_P(KilledGateway, IsNoticedByTheWorker) {
  int pipe_fds[2];
  ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
  auto gateway = Process::Spawn({.program = "/proc/self/exe",
                                 .arguments = {"--gateway", GetParam()},
                                 .descriptors = {pipe_fds[1]}});
  ASSERT_TRUE(gateway.ok());
  close(pipe_fds[1]);
  char letter = 0;
  ASSERT_EQ(read(pipe_fds[0], &letter, 1), 1);  // ends (with 0) if all that could write have died
  ASSERT_EQ(letter, 'r');
  std::this_thread::sleep_for(50ms);
  const auto start = Clock::now();
  gateway->Signal(SIGKILL);
  ASSERT_EQ(read(pipe_fds[0], &letter, 1), 1);
  EXPECT_EQ(letter, 'u');
  EXPECT_LT(Clock::now() - start, kSoon);
  close(pipe_fds[0]);
}
INSTANTIATE_TEST_SUITE_P(InEachWait, KilledGateway,
                         ::testing::Values("await-message", "await-room"));

}  // namespace
}  // namespace shardline

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--peer") return shardline::Peer(argv[2]);
  if (argc == 3 && std::string(argv[1]) == "--gateway") return shardline::Gateway(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
