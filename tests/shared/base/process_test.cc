#include "shared/base/process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "shared/base/clock.h"

namespace shardline {
namespace {

using namespace std::chrono_literals;

absl::StatusOr<Process> Shell(const std::string& script, std::vector<int> descriptors = {}) {
  return Process::Spawn(
      {.program = "/bin/sh", .arguments = {"-c", script}, .descriptors = std::move(descriptors)});
}

TEST(Process, ReportsExitCodes) {
  for (int code : {0, 2, 77}) {
    auto child = Shell(Cat("exit ", code));
    ASSERT_TRUE(child.ok()) << child.status();
    const auto status = child->Wait(10s);
    ASSERT_TRUE(status.has_value());
    EXPECT_FALSE(status->signalled);
    EXPECT_EQ(status->code, code);
    EXPECT_EQ(status->clean(), code == 0);
    EXPECT_EQ(Describe(*status), Cat("exit code ", code));
    EXPECT_EQ(child->Wait(0s)->code, code);  // the same again
  }
}

TEST(Process, ReportsSignals) {
  auto child = Shell("exec sleep 60");
  ASSERT_TRUE(child.ok());
  EXPECT_FALSE(child->Wait(0s).has_value());
  EXPECT_FALSE(child->Wait(20ms).has_value());
  child->Signal(SIGKILL);
  const auto status = child->Wait(10s);
  ASSERT_TRUE(status.has_value());
  EXPECT_TRUE(status->signalled);
  EXPECT_EQ(Describe(*status), "killed by SIGKILL");
}

TEST(Process, MissingProgramIsAnErrorThatNamesIt) {
  const auto child = Process::Spawn({.program = "/nonexistent/worker"});
  ASSERT_FALSE(child.ok());
  EXPECT_THAT(Message(child.status()), ::testing::HasSubstr("/nonexistent/worker: No such file"));
}

TEST(Process, ChildFindsItsDescriptorsFromThreeOnAndNoOthers) {
  int first[2], second[2];
  ASSERT_EQ(pipe2(first, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(second, O_CLOEXEC), 0);
  const int leaked = dup(first[1]);  // not close-on-exec
  // Given in an order that would overwrite one with the other if placed naively.
  auto child =
      Shell("echo one >&3; echo two >&4; ls /proc/self/fd | wc -l >&4", {second[1], first[1]});
  ASSERT_TRUE(child.ok());
  EXPECT_TRUE(child->Wait(10s)->clean());
  close(leaked);
  close(first[1]);
  close(second[1]);
  char text[64] = {};
  EXPECT_EQ(read(second[0], text, sizeof(text)), 4);
  EXPECT_STREQ(text, "one\n");
  const ssize_t got = read(first[0], text, sizeof(text) - 1);
  ASSERT_GT(got, 4);
  // ls has 0, 1, 2, our two and the directory it lists.
  EXPECT_EQ(std::string(text, got), "two\n6\n");
  close(first[0]);
  close(second[0]);
}

TEST(Process, ChildStartsWithNoSignalBlockedOrIgnored) {
  sigset_t block, before;
  sigemptyset(&block);
  sigaddset(&block, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &block, &before);
  signal(SIGTERM, SIG_IGN);
  auto child = Shell("exec sleep 60");
  signal(SIGTERM, SIG_DFL);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ASSERT_TRUE(child.ok());
  child->Signal(SIGTERM);
  const auto status = child->Wait(10s);
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(Describe(*status), "killed by SIGTERM");
}

TEST(Process, DestructionKillsAndReaps) {
  pid_t pid;
  {
    auto child = Shell("exec sleep 60");
    ASSERT_TRUE(child.ok());
    pid = child->pid();
    Process moved = *std::move(child);
    EXPECT_EQ(kill(pid, 0), 0);
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST(Process, DieWithParentNoticesAParentThatIsGone) {
  EXPECT_TRUE(absl::IsUnavailable(DieWithParent(getpid())));  // we are not our own parent
}

TEST(Process, StartTicksAndPidfdNameAProcess) {
  const auto self = StartTicks(getpid());
  ASSERT_TRUE(self.ok());
  EXPECT_GT(*self, 0u);
  EXPECT_EQ(*self, *StartTicks(getpid()));
  auto child = Shell("exit 0");
  ASSERT_TRUE(child.ok());
  EXPECT_TRUE(ProcessEnded(child->pidfd(), 10s));
  const pid_t pid = child->pid();
  EXPECT_TRUE(child->Wait(1s)->clean());
  EXPECT_TRUE(absl::IsNotFound(StartTicks(pid).status()));
  EXPECT_TRUE(absl::IsNotFound(OpenPidfd(pid).status()));
}

TEST(Clock, DeadlinesDoNotOverflow) {
  EXPECT_EQ(DeadlineAfter(std::chrono::nanoseconds::max()), Clock::time_point::max());
  const auto now = DeadlineAfter(0s);
  EXPECT_LE(now, Clock::now());
  const uint64_t before = MonotonicNanoseconds();
  EXPECT_LE(before, MonotonicNanoseconds());
}

}  // namespace
}  // namespace shardline
