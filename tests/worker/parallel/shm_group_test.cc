// The group over shared memory: ranks as threads (so that thread sanitizer sees them), ranks as
// processes that die, stop and leave, and memory with garbage in it.
#include "worker/parallel/shm_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "tests/worker/parallel/conformance.h"
#include "tests/worker/parallel/rank_processes.h"

namespace shardline {
namespace {

using namespace std::chrono_literals;
using testing::Fault;
using ::testing::HasSubstr;
using testing::Rig;

constexpr uint64_t kEpoch = 7;

ShmGroupOptions OptionsOf(int rank, int size, std::chrono::nanoseconds limit = 60s) {
  return {.rank = rank, .size = size, .epoch = kEpoch, .limit = limit};
}

int NewSegment(int ranks, uint64_t buffer_bytes = ShmGroup::kBufferBytes) {
  const auto fd = ShmGroup::CreateSegment(ranks, kEpoch, buffer_bytes);
  EXPECT_TRUE(fd.ok()) << fd.status();
  return *fd;
}

// Runs `body` for every rank in a thread of its own; expects that all return "".
using Body = std::function<std::string(std::unique_ptr<ShmGroup>)>;
void OnThreads(int size, uint64_t buffer_bytes, std::chrono::nanoseconds limit, const Body& body) {
  const int fd = NewSegment(size, buffer_bytes);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      auto group = ShmGroup::Attach(dup(fd), OptionsOf(rank, size, limit));
      ASSERT_TRUE(group.ok()) << group.status();
      EXPECT_EQ(body(*std::move(group)), "") << "rank " << rank;
    });
  }
  for (std::thread& thread : threads) thread.join();
  close(fd);
}

void ConformOnThreads(int size, uint64_t buffer_bytes, int64_t largest_bytes) {
  std::atomic<int> arrivals{0};
  OnThreads(size, buffer_bytes, 300s, [&](std::unique_ptr<ShmGroup> group) {
    return Conform(Rig{.group = *group, .arrivals = &arrivals, .largest_bytes = largest_bytes});
  });
}

TEST(ShmThreads, OneRankConforms) { ConformOnThreads(1, 4096, 1 << 19); }
TEST(ShmThreads, TwoRanksConform) { ConformOnThreads(2, ShmGroup::kBufferBytes, 5 << 19); }
TEST(ShmThreads, ThreeRanksConform) { ConformOnThreads(3, ShmGroup::kBufferBytes, 5 << 19); }
// Everything above 4 KiB goes in pieces; a slice of a piece may be empty.
TEST(ShmThreads, SmallBuffersConform) { ConformOnThreads(4, 4096, 200000); }
TEST(ShmThreads, BuffersOfSeveralShotsConform) { ConformOnThreads(3, 68 << 10, 500000); }

TEST(ShmThreads, AMissingRankIsNamedAtTheLimit) {
  OnThreads(3, 4096, 200ms, [](std::unique_ptr<ShmGroup> group) -> std::string {
    if (!group->Barrier().ok()) return "the first barrier failed";
    if (group->rank() == 1) {  // stays, but does not come
      std::this_thread::sleep_for(1s);
      return group->Barrier().ok() ? "a late rank joins again" : "";
    }
    const absl::Status status = testing::CallUntilItFails(*group);
    if (!absl::IsDeadlineExceeded(status)) return status.ToString();
    return Message(status).find("rank 1 has not come to AllReduce within 0.2 s") !=
                   std::string::npos
               ? ""
               : Message(status);
  });
}

TEST(ShmThreads, AbortWakesEverybody) {
  OnThreads(3, 4096, 300s, [](std::unique_ptr<ShmGroup> group) -> std::string {
    if (group->rank() == 2) {
      std::this_thread::sleep_for(50ms);
      group->Abort("out of memory");
      return "";
    }
    const absl::Status status = group->Barrier();
    if (!absl::IsUnavailable(status)) return status.ToString();
    return Message(status) == "group: ended by rank 2: out of memory" ? "" : Message(status);
  });
}

TEST(ShmThreads, ARankThatLeavesHasDoneItsPart) {
  for (int round = 0; round < 50; ++round) {
    OnThreads(3, 4096, 300s, [](std::unique_ptr<ShmGroup> group) -> std::string {
      testing::Array data(DType::kI32, 5000);
      const auto status = group->Broadcast(data.view(), 0);  // rank 0 leaves at once
      return status.ok() ? "" : Message(status);
    });
  }
}

TEST(ShmThreads, UnlikeCallsAreRefused) {
  OnThreads(2, 4096, 300s, [](std::unique_ptr<ShmGroup> group) -> std::string {
    testing::Array data(DType::kF32, 100 + group->rank());
    std::memset(data.view().data, 0, data.view().bytes());
    const auto status = group->AllReduce(data.view());
    return Message(status).find("calls AllReduce of 40") != std::string::npos ? ""
                                                                              : status.ToString();
  });
}

// ---- joining ----

TEST(ShmAttach, RefusesWhatDoesNotFit) {
  const int fd = NewSegment(2);
  const auto text = [&](ShmGroupOptions options) {
    return Message(ShmGroup::Attach(dup(fd), options).status());
  };
  ShmGroupOptions other = OptionsOf(0, 2);
  other.epoch = kEpoch + 1;
  EXPECT_EQ(text(other), "group: the segment is of epoch 7, not 8");
  EXPECT_EQ(text(OptionsOf(0, 3)), "group: the segment is for 2 ranks, not 3");
  EXPECT_EQ(text(OptionsOf(2, 2)), "group: rank 2 of 2 does not exist");
  EXPECT_EQ(text(OptionsOf(-1, 2)), "group: rank -1 of 2 does not exist");
  EXPECT_EQ(text(OptionsOf(0, 2, 0s)), "group: limit is 0 ns");
  EXPECT_THAT(Message(ShmGroup::Attach(-1, OptionsOf(0, 2)).status()), HasSubstr("descriptor -1"));
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  EXPECT_THAT(Message(ShmGroup::Attach(pipe_fds[0], OptionsOf(0, 2)).status()),
              HasSubstr("is not a sealed memfd"));
  close(pipe_fds[1]);
  close(fd);
}

TEST(ShmAttach, ARankIsTakenOnce) {
  const int fd = NewSegment(2);
  auto first = ShmGroup::Attach(dup(fd), OptionsOf(0, 2));
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(Message(ShmGroup::Attach(dup(fd), OptionsOf(0, 2)).status()), "group: rank 0 is taken");
  first->reset();
  EXPECT_FALSE(ShmGroup::Attach(dup(fd), OptionsOf(0, 2)).ok()) << "a rank does not come back";
  close(fd);
}

TEST(ShmAttach, ARankThatNeverComesIsNamed) {
  const int fd = NewSegment(2);
  auto group = ShmGroup::Attach(fd, OptionsOf(0, 2, 100ms));
  ASSERT_TRUE(group.ok());
  EXPECT_EQ(Message((*group)->Barrier()), "group: rank 1 has not joined within 0.1 s");
}

TEST(ShmCreate, RefusesImpossibleSizes) {
  EXPECT_FALSE(ShmGroup::CreateSegment(0, kEpoch).ok());
  EXPECT_FALSE(ShmGroup::CreateSegment(kMaxRanks + 1, kEpoch).ok());
  EXPECT_FALSE(ShmGroup::CreateSegment(2, 0).ok());
  EXPECT_FALSE(ShmGroup::CreateSegment(2, kEpoch, 5000).ok());
  EXPECT_FALSE(ShmGroup::CreateSegment(2, kEpoch, uint64_t{1} << 40).ok());
}

// ---- garbage ----

// A segment whose first bytes, header and ranks' words, are `bytes`.
int SegmentWith(const std::vector<std::byte>& bytes) {
  const int fd = NewSegment(2, 4096);
  auto memory = SealedMemory::Map("test", dup(fd), bytes.size());
  EXPECT_TRUE(memory.ok()) << memory.status();
  std::memcpy(memory->data(), bytes.data(), bytes.size());
  return fd;
}

std::vector<std::byte> ValidWords() {
  std::vector<std::byte> bytes(sizeof(GroupHeader) + 2 * sizeof(RankControl));
  auto memory = SealedMemory::Map("test", NewSegment(2, 4096), bytes.size());
  std::memcpy(bytes.data(), memory->data(), bytes.size());
  return bytes;
}

TEST(ShmGarbage, AnyChangedByteOfTheHeaderIsRefused) {
  const std::vector<std::byte> valid = ValidWords();
  for (size_t at = 0; at < offsetof(GroupHeader, buffer_bytes) + sizeof(uint64_t); ++at) {
    std::vector<std::byte> bytes = valid;
    bytes[at] ^= std::byte{0x41};
    EXPECT_TRUE(
        absl::IsInvalidArgument(ShmGroup::Attach(SegmentWith(bytes), OptionsOf(0, 2)).status()))
        << at;
  }
}

// Random words in the shared memory, before and after joining: every call ends, with whatever.
TEST(ShmGarbage, RandomWordsEndEveryCall) {
  std::mt19937 random(11);
  const std::vector<std::byte> valid = ValidWords();
  constexpr uint32_t kValues[] = {0, 1, 2, 3, 0x7fffffff, 0x80000000, 0xffffffff};
  for (int round = 0; round < 300; ++round) {
    std::vector<std::byte> bytes = valid;
    for (int change = 0; change < 1 + round % 12; ++change) {
      const size_t from = round % 4 == 0 ? 0 : offsetof(GroupHeader, end);
      const size_t at = (from + random() % (bytes.size() - from)) / 4 * 4;
      const auto value = static_cast<uint32_t>(
          random() % 2 == 0 ? random() : kValues[random() % std::size(kValues)]);
      std::memcpy(bytes.data() + at, &value, 4);
    }
    const bool before = round % 2 == 0;
    const int fd = SegmentWith(before ? bytes : valid);
    auto group = ShmGroup::Attach(dup(fd), OptionsOf(0, 2, 2ms));
    if (group.ok()) {
      if (!before) {
        auto memory = SealedMemory::Map("test", dup(fd), bytes.size());
        std::memcpy(memory->data() + offsetof(GroupHeader, end),
                    bytes.data() + offsetof(GroupHeader, end),
                    bytes.size() - offsetof(GroupHeader, end));
      }
      testing::Array data(DType::kF32, 5000);
      std::memset(data.view().data, 0, data.view().bytes());
      for (int call = 0; call < 3; ++call) {
        const auto status = (*group)->AllReduce(data.view());
        EXPECT_EQ(Message(status).find('\n'), std::string::npos);
      }
      (void)(*group)->Broadcast(data.view(), 1);
      EXPECT_TRUE(data.GuardIntact());
    }
    close(fd);
  }
}

// ---- processes ----

TEST(ShmProcesses, ThreeRanksConform) {
  const int fd = NewSegment(3);
  testing::RunRanks(3, {.role = "conform", .detail = "300"}, fd);
  close(fd);
}

class ShmFault : public ::testing::TestWithParam<Fault> {};
TEST_P(ShmFault, EndsTheOthers) {
  const Fault& fault = GetParam();
  const int fd = NewSegment(3);
  testing::RunRanks(3, {.role = fault.role, .detail = fault.limit, .expect = fault.expect}, fd);
  close(fd);
}
// Only a stopped rank takes up to the limit to be noticed.
INSTANTIATE_TEST_SUITE_P(
    OfTheLastRank, ShmFault,
    ::testing::Values(Fault{"kill", "600", "rank 2 died"}, Fault{"exit", "600", "rank 2 died"},
                      Fault{"leave", "600", "rank 2 left"},
                      Fault{"stop", "1", "rank 2 has not come to AllReduce within 1 s"},
                      Fault{"abort", "600", "ended by rank 2: the test says so"}),
    testing::RoleOf);

absl::StatusOr<std::unique_ptr<ProcessGroup>> Join(const testing::RankArguments& arguments) {
  const auto limit = arguments.limit();
  return ShmGroup::Attach(testing::kJoinDescriptor,
                          OptionsOf(arguments.rank, arguments.size, limit));
}

}  // namespace
}  // namespace shardline

int main(int argc, char** argv) {
  return shardline::testing::RunTestsOrRank(argc, argv, shardline::Join);
}
