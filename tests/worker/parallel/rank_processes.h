// Ranks as processes: a test program starts itself again once for each rank, with a role.
// Descriptor 3 is what the back end joins by, 4 is memory that all ranks share.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "shared/base/process.h"
#include "shared/ipc/sealed_memory.h"
#include "tests/worker/parallel/conformance.h"

namespace shardline::testing {

// What the last rank does, within which limit, and what the others say of it.
struct Fault {
  std::string role, limit, expect;
};
inline std::string RoleOf(const ::testing::TestParamInfo<Fault>& info) { return info.param.role; }

inline constexpr int kJoinDescriptor = 3;
inline constexpr int kSharedDescriptor = 4;

struct RankArguments {
  int rank = 0;
  int size = 1;
  std::string role;    // "conform", or what the last rank does after a while: "kill", …
  std::string detail;  // the group's limit in seconds
  std::string expect;  // in the text of the others' errors

  std::chrono::seconds limit() const { return std::chrono::seconds(std::stoi(detail)); }
};
using JoinGroup =
    std::function<absl::StatusOr<std::unique_ptr<ProcessGroup>>(const RankArguments&)>;

// The last rank's part of a test of faults.
inline int BreakDown(const std::string& role, std::unique_ptr<ProcessGroup> group) {
  if (role == "kill") raise(SIGKILL);
  if (role == "exit") _exit(0);
  if (role == "stop") raise(SIGSTOP);  // until the test kills it
  if (role == "abort") group->Abort("the test says so");
  if (role == "leave") group.reset();
  std::this_thread::sleep_for(std::chrono::seconds(role == "leave" || role == "abort" ? 2 : 0));
  return 0;
}

inline std::string Play(const RankArguments& arguments, std::unique_ptr<ProcessGroup> group) {
  auto shared = SealedMemory::Map("test", kSharedDescriptor, sizeof(int));
  if (!shared.ok()) return Message(shared.status());
  auto& arrivals = *reinterpret_cast<std::atomic<int>*>(shared->data());
  if (arguments.role == "conform") return Conform({.group = *group, .arrivals = &arrivals});
  for (int i = 0; i < 20; ++i) {
    const std::string wrong = CheckSum({.group = *group}, DType::kF32, 1000 * i, i);
    if (!wrong.empty()) return Cat("before the fault: ", wrong);
  }
  arrivals.fetch_add(1);  // a fault must not overtake what ranks still wait for
  if (arguments.rank == arguments.size - 1) {
    while (arrivals.load() < arguments.size)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    BreakDown(arguments.role, std::move(group));
    return "";
  }
  const absl::Status status = CallUntilItFails(*group);
  if (status.ok()) return "nothing failed";
  if (Message(status).find(arguments.expect) == std::string::npos) {
    return Cat("failed with \"", status.ToString(), "\", not with \"", arguments.expect, "\"");
  }
  if (Message(status).find('\n') != std::string::npos) return Cat("lines: ", Message(status));
  if (group->Barrier().ok()) return "a group that has failed works on";
  return "";
}

inline int RunRank(char** argv, const JoinGroup& join) {
  const RankArguments arguments{std::atoi(argv[2]), std::atoi(argv[3]), argv[4], argv[5], argv[6]};
  auto group = join(arguments);
  const std::string wrong =
      group.ok() ? Play(arguments, *std::move(group)) : Message(group.status());
  if (!wrong.empty()) fprintf(stderr, "rank %d: %s\n", arguments.rank, wrong.c_str());
  return wrong.empty() ? 0 : 1;
}

// The whole of main: the tests, or this process's part as one of their ranks.
inline int RunTestsOrRank(int argc, char** argv, const JoinGroup& join) {
  signal(SIGPIPE, SIG_IGN);  // as a worker does: connections end at any time
  if (argc == 7 && std::string(argv[1]) == "--rank") return RunRank(argv, join);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

inline absl::StatusOr<Process> StartRank(const RankArguments& arguments, int join_fd,
                                         int shared_fd) {
  return Process::Spawn({.program = "/proc/self/exe",
                         .arguments = {"--rank", Cat(arguments.rank), Cat(arguments.size),
                                       arguments.role, arguments.detail, arguments.expect},
                         .descriptors = {join_fd, shared_fd}});
}

// Starts all ranks and expects that all end well but a broken one.
inline void RunRanks(int size, const RankArguments& common, int join_fd) {
  auto shared = SealedMemory::Create("test", 4096);
  ASSERT_TRUE(shared.ok()) << shared.status();
  std::vector<Process> ranks;
  for (int rank = 0; rank < size; ++rank) {
    RankArguments arguments = common;
    arguments.rank = rank, arguments.size = size;
    auto started = StartRank(arguments, join_fd, shared->fd());
    ASSERT_TRUE(started.ok()) << started.status();
    ranks.push_back(*std::move(started));
  }
  const int sound = common.role == "conform" ? size : size - 1;
  for (int rank = 0; rank < sound; ++rank) {
    const auto ended = ranks[rank].Wait(std::chrono::seconds(300));
    ASSERT_TRUE(ended.has_value()) << "rank " << rank << " hangs";
    EXPECT_TRUE(ended->clean()) << "rank " << rank << ": " << Describe(*ended);
  }
}

}  // namespace shardline::testing
