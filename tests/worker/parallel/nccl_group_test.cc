// The group of GPUs over a stand-in for NCCL: ranks as threads and as processes, with the faults
// that NCCL can show.
#include "worker/parallel/nccl_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <barrier>
#include <cstring>
#include <functional>
#include <thread>

#include "tests/worker/parallel/conformance.h"
#include "tests/worker/parallel/fake_nccl.h"
#include "tests/worker/parallel/rank_processes.h"
#include "worker/parallel/shm_group.h"

namespace shardline {
namespace {

using namespace std::chrono_literals;
using testing::FakeNccl;
using testing::FakeNcclKnobs;
using testing::FakeStream;
using testing::Fault;
using ::testing::HasSubstr;
using testing::Rig;

constexpr uint64_t kEpoch = 7;

// A rank's group with all that it stands on.
class Gpu final : public ProcessGroup {
 public:
  static absl::StatusOr<std::unique_ptr<Gpu>> Make(int fd, int rank, int size,
                                                   const NcclGroupOptions& options) {
    auto gpu = std::make_unique<Gpu>();
    SL_ASSIGN_OR_RETURN(
        gpu->host_,
        ShmGroup::Attach(
            fd, {.rank = rank, .size = size, .epoch = kEpoch, .limit = std::chrono::seconds(60)}));
    SL_ASSIGN_OR_RETURN(gpu->group_,
                        NcclGroup::Create(FakeNccl(), *gpu->host_, gpu->stream_, options));
    return gpu;
  }
  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }
  absl::Status AllReduce(const View& data) override { return group_->AllReduce(data); }
  absl::Status AllGather(const View& in, const View& out) override {
    return group_->AllGather(in, out);
  }
  absl::Status Broadcast(const View& data, int root) override {
    return group_->Broadcast(data, root);
  }
  absl::Status Barrier() override { return group_->Barrier(); }
  void SetLimit(std::chrono::nanoseconds limit) override { group_->SetLimit(limit); }
  void Abort(std::string_view reason) override { group_->Abort(reason); }
  absl::Status ended() const override { return group_->ended(); }

 private:
  FakeStream stream_;
  std::unique_ptr<ShmGroup> host_;
  std::unique_ptr<NcclGroup> group_;
};

using Body = std::function<std::string(std::unique_ptr<ProcessGroup>)>;
void OnThreads(int size, const NcclGroupOptions& options, const Body& body) {
  FakeNcclKnobs().ranks = size;
  const auto fd = ShmGroup::CreateSegment(size, kEpoch);
  ASSERT_TRUE(fd.ok()) << fd.status();
  std::barrier joined(size);  // one rank's fault must not overtake another's joining
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      auto group = Gpu::Make(dup(*fd), rank, size, options);
      joined.arrive_and_wait();
      ASSERT_TRUE(group.ok()) << group.status();
      EXPECT_EQ(body(*std::move(group)), "") << "rank " << rank;
    });
  }
  for (std::thread& thread : threads) thread.join();
  close(*fd);
}

void ConformOnThreads(int size, bool rank_order = true) {
  std::atomic<int> arrivals{0};
  OnThreads(size, {.rank_order = rank_order, .limit = 300s},
            [&](std::unique_ptr<ProcessGroup> group) {
              return Conform(Rig{.group = *group, .arrivals = &arrivals, .rank_order = rank_order});
            });
}

class NcclThreads : public ::testing::Test {
 protected:
  void SetUp() override { FakeNcclKnobs().Reset(1); }
};

TEST_F(NcclThreads, OneRankConforms) { ConformOnThreads(1); }
TEST_F(NcclThreads, TwoRanksConform) { ConformOnThreads(2); }
TEST_F(NcclThreads, ThreeRanksConform) { ConformOnThreads(3); }
TEST_F(NcclThreads, ThreeRanksConformWithNcclsOwnSum) { ConformOnThreads(3, false); }
TEST_F(NcclThreads, CallsInProgressConform) {
  FakeNcclKnobs().in_progress = 3;
  ConformOnThreads(2);
}

TEST_F(NcclThreads, AnAsynchronousErrorEndsTheGroup) {
  std::atomic<int> ready{0};
  OnThreads(3, {.limit = 300s}, [&](std::unique_ptr<ProcessGroup> group) -> std::string {
    if (!group->Barrier().ok()) return "the first barrier failed";
    if (++ready == 3) FakeNcclKnobs().async_error = kNcclRemoteError;
    const absl::Status status = testing::CallUntilItFails(*group);
    if (!absl::IsUnavailable(status)) return status.ToString();
    if (group->Barrier().ok()) return "works on";
    return Message(status).find("NCCL: remote process exited") != std::string::npos
               ? ""
               : Message(status);
  });
}

TEST_F(NcclThreads, ARefusedCallEndsTheGroup) {
  FakeNcclKnobs().refuse = kNcclSystemError;
  OnThreads(2, {.limit = 300s}, [](std::unique_ptr<ProcessGroup> group) -> std::string {
    const std::string text = Message(group->Barrier());
    if (group->Barrier().ok()) return "works on";
    return text.find("unhandled system error") != std::string::npos ? "" : text;
  });
}

TEST_F(NcclThreads, AHangEndsAtTheLimit) {
  std::atomic<int> ready{0};
  OnThreads(2, {.limit = 300ms}, [&](std::unique_ptr<ProcessGroup> group) -> std::string {
    if (!group->Barrier().ok()) return "the first barrier failed";
    if (++ready == 2) FakeNcclKnobs().hang = true;
    const std::string text = Message(testing::CallUntilItFails(*group));
    return text.find("AllReduce has not ended within 0.3 s") != std::string::npos ? "" : text;
  });
}

TEST_F(NcclThreads, UnlikeCallsEndAtTheLimit) {
  OnThreads(2, {.limit = 300ms}, [](std::unique_ptr<ProcessGroup> group) -> std::string {
    testing::Array data(DType::kF32, 100 + group->rank());
    std::memset(data.view().data, 0, data.view().bytes());
    return group->AllReduce(data.view()).ok() ? "unlike calls went through" : "";
  });
}

TEST_F(NcclThreads, AbortWakesEverybody) {
  OnThreads(3, {.limit = 300s}, [](std::unique_ptr<ProcessGroup> group) -> std::string {
    if (group->rank() == 2) {
      std::thread([&] { group->Abort("out of memory"); }).join();
      return group->Barrier().ok() ? "works on" : "";
    }
    const std::string text = Message(group->Barrier());
    return text == "group: ended by rank 2: out of memory" ? "" : text;
  });
}

TEST_F(NcclThreads, ARankThatNeverJoinsEndsAtTheLimit) {
  FakeNcclKnobs().ranks = 2;
  const auto fd = ShmGroup::CreateSegment(2, kEpoch);
  ASSERT_TRUE(fd.ok());
  std::thread absent([&] {  // is there, but its GPU is not
    auto host = ShmGroup::Attach(dup(*fd), {.rank = 1, .size = 2, .epoch = kEpoch});
    NcclUniqueId id;
    const View view = View::Contiguous(&id, DType::kU8, {sizeof(id)});
    EXPECT_TRUE((*host)->Broadcast(view, 0).ok());
    while ((*host)->ended().ok()) std::this_thread::sleep_for(1ms);
  });
  EXPECT_THAT(Message(Gpu::Make(dup(*fd), 0, 2, {.limit = 200ms}).status()),
              HasSubstr("joining has not ended within 0.2 s"));
  absent.join();
  close(*fd);
}

TEST(NcclApi, AMissingLibraryIsNamed) {
  EXPECT_THAT(Message(LoadNccl("libno-such-nccl.so.2").status()),
              HasSubstr("libno-such-nccl.so.2"));
  EXPECT_THAT(Message(LoadNccl("libc.so.6").status()), HasSubstr("does not tell its version"));
}

// ---- processes ----

void RunProcesses(const testing::RankArguments& arguments) {
  const auto fd = ShmGroup::CreateSegment(3, kEpoch);
  ASSERT_TRUE(fd.ok());
  testing::RunRanks(3, arguments, *fd);
  close(*fd);
}

TEST(NcclProcesses, ThreeRanksConform) { RunProcesses({.role = "conform", .detail = "300"}); }

class NcclFault : public ::testing::TestWithParam<Fault> {};
TEST_P(NcclFault, EndsTheOthers) {
  const Fault& fault = GetParam();
  RunProcesses({.role = fault.role, .detail = fault.limit, .expect = fault.expect});
}
INSTANTIATE_TEST_SUITE_P(
    OfTheLastRank, NcclFault,
    ::testing::Values(Fault{"kill", "600", "rank 2 died"}, Fault{"exit", "600", "rank 2 died"},
                      Fault{"leave", "600", "rank 2 left"},
                      Fault{"stop", "1", "AllReduce has not ended within 1 s"},
                      Fault{"abort", "600", "ended by rank 2: the test says so"}),
    testing::RoleOf);

absl::StatusOr<std::unique_ptr<ProcessGroup>> Join(const testing::RankArguments& arguments) {
  FakeNcclKnobs().Reset(arguments.size);
  return Gpu::Make(testing::kJoinDescriptor, arguments.rank, arguments.size,
                   {.limit = arguments.limit()});
}

}  // namespace
}  // namespace shardline

int main(int argc, char** argv) {
  return shardline::testing::RunTestsOrRank(argc, argv, shardline::Join);
}
