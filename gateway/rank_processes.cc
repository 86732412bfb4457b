#include "gateway/rank_processes.h"

#include <signal.h>

#include <algorithm>
#include <optional>

#include "shared/ipc/group_segment.h"

namespace shardline {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kFollowerRingBytes = 64 << 10;  // only Configure and Progress pass

}  // namespace

absl::StatusOr<std::unique_ptr<RankProcesses>> RankProcesses::Start(Options options) {
  std::unique_ptr<RankProcesses> processes(new RankProcesses(std::move(options)));
  const Options& own = processes->options_;
  std::optional<GroupSegment> segment;
  if (own.ranks > 1 && !own.over_tcp) {
    SL_ASSIGN_OR_RETURN(auto created, GroupSegment::Create(own.ranks, own.epoch));
    segment.emplace(std::move(created));
  }
  for (int index = 0; index < own.ranks; ++index) {
    const bool listens = own.first_rank + index == 0;
    SL_RETURN_IF_ERROR(
        processes->StartRank(index, segment ? segment->fd() : (listens ? own.rendezvous_fd : -1)));
  }
  for (int index = 1; index < own.ranks; ++index) {
    processes->ranks_[index].watch = std::thread([&all = *processes, index] { all.Watch(index); });
  }
  return processes;
}

absl::Status RankProcesses::StartRank(int index, int group_fd) {
  ChannelOptions channel_options;
  if (index > 0) channel_options.ring_bytes = kFollowerRingBytes;
  SL_ASSIGN_OR_RETURN(auto channel, Channel::Create(channel_options, options_.epoch));
  auto link = std::make_shared<WorkerLink>(std::move(channel));
  SpawnOptions spawn{.program = options_.program,
                     .arguments = options_.arguments(options_.epoch, options_.first_rank + index),
                     .descriptors = {link->channel().fd()}};
  if (group_fd >= 0) spawn.descriptors.push_back(group_fd);
  SL_ASSIGN_OR_RETURN(Process process, Process::Spawn(spawn));
  Channel& own = link->channel();
  const pid_t pid = process.pid();
  ranks_.push_back({std::move(link), std::move(process), {}});
  absl::Status status = own.WatchProcess(pid);
  if (status.ok()) status = own.Send(Configure{options_.eos_ids}, seconds(10));
  // One that has ended already tells with its exit code why: who listens to it finds out.
  return absl::IsUnavailable(status) ? absl::OkStatus() : status;
}

RankProcesses::~RankProcesses() { Kill(); }

// A follower: until its channel ends.
void RankProcesses::Watch(int index) {
  Rank& own = ranks_[index];
  while (!ending_) {
    const auto message = own.link->channel().Receive(milliseconds(100));
    if (message.ok() && !message->has_value() && !own.process.Wait(milliseconds(0))) continue;
    if (message.ok() && message->has_value()) {
      const absl::StatusOr<Progress> progress = (*message)->As<Progress>();
      if (progress.ok()) {
        if (options_.progress) options_.progress(index, *progress);
        continue;
      }
    }
    if (ending_) return;
    const std::optional<ExitStatus> exit = own.process.Wait(seconds(1));
    {
      std::lock_guard lock(mutex_);
      if (lost_.empty()) {
        lost_ = Cat("rank ", options_.first_rank + index,
                    exit ? Cat(" ended (", Describe(*exit), ")") : Cat(" closed its channel"));
      }
    }
    ranks_[0].link->channel().Close();
    return;
  }
}

bool RankProcesses::leader_ended() {
  return ranks_[0].process.Wait(std::chrono::nanoseconds(0)).has_value();
}

std::string RankProcesses::lost_rank() const {
  std::lock_guard lock(mutex_);
  return lost_;
}

void RankProcesses::Kill() {
  killed_ = true;
  StopWatching();
  for (Rank& rank : ranks_) rank.process.Signal(SIGKILL);
}

// The followers' channels end with it.
void RankProcesses::StopWatching() {
  ending_ = true;
  for (Rank& rank : ranks_) {
    if (!rank.watch.joinable()) continue;
    rank.link->channel().Close();
    rank.watch.join();
  }
}

// Whichever end was noticed first: one that was killed took the others along.
void RankProcesses::NoteKilledRank() {
  if (killed_ || ranks_.size() == 1) return;
  for (int index = 0; index < options_.ranks; ++index) {
    const std::optional<ExitStatus> exit = ranks_[index].process.Wait(std::chrono::nanoseconds(0));
    if (!exit || !exit->signalled) continue;
    std::lock_guard lock(mutex_);
    lost_ = Cat("rank ", options_.first_rank + index, " ended (", Describe(*exit), ")");
    return;
  }
}

std::optional<ExitStatus> RankProcesses::End(std::chrono::nanoseconds patience) {
  ranks_[0].link->channel().Close();
  (void)ranks_[0].process.Wait(patience);
  StopWatching();
  NoteKilledRank();
  for (Rank& rank : ranks_) {
    if (!rank.process.Wait(std::min<std::chrono::nanoseconds>(patience, milliseconds(500)))) {
      rank.process.Signal(SIGKILL);
    }
  }
  for (Rank& rank : ranks_) rank.process.Wait(seconds(30));
  return ranks_[0].process.Wait(std::chrono::nanoseconds(0));
}

}  // namespace shardline
