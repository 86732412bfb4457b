// The processes of one worker group on this host: the leader (rank 0, or the first rank of this
// node), which talks for all of them, and the ranks that follow it. Each is a child with a channel
// of its own, so that its progress is heard and its end noticed at once; several meet in a
// shared-memory segment, or over TCP at --rendezvous. One rank's end is the end of the group.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gateway/worker_link.h"
#include "shared/base/process.h"
#include "shared/base/status.h"

namespace shardline {

class RankProcesses {
 public:
  struct Options {
    std::string program;
    int first_rank = 0, ranks = 1;  // of this host
    bool over_tcp = false;
    int rendezvous_fd = -1;  // for rank 0
    uint64_t epoch = 0;
    std::function<std::vector<std::string>(uint64_t epoch, int rank)> arguments;
    std::vector<uint32_t> eos_ids;
    // Of ranks other than the leader, counted from it; from threads of their own.
    std::function<void(int index, const Progress& progress)> progress;
  };
  // Starts all ranks, from the calling thread, with which they end. Errors: what spawning or shared
  // memory gives; nothing is left running then.
  static absl::StatusOr<std::unique_ptr<RankProcesses>> Start(Options options);
  ~RankProcesses();  // kills what still runs

  // The leader's, to receive from and send to. It closes when another rank ends.
  const std::shared_ptr<WorkerLink>& leader() const { return ranks_[0].link; }
  // Whether the leader has ended, although its channel may not have noticed (it never attached).
  bool leader_ended();
  // Which rank ended before the others, and how, if it was another one than the leader or was
  // killed; after End. Empty: none.
  std::string lost_rank() const;

  void Kill();
  // Closes the channels, lets the processes end for so long, then kills them. The leader's end;
  // nullopt if even that failed.
  std::optional<ExitStatus> End(std::chrono::nanoseconds patience);

 private:
  struct Rank {
    std::shared_ptr<WorkerLink> link;
    Process process;
    std::thread watch;  // of followers
  };
  explicit RankProcesses(Options options) : options_(std::move(options)) {}
  absl::Status StartRank(int index, int group_fd);
  void Watch(int index);
  void StopWatching();
  void NoteKilledRank();

  const Options options_;
  std::vector<Rank> ranks_;
  std::atomic<bool> ending_{false};
  bool killed_ = false;  // by Kill
  mutable std::mutex mutex_;
  std::string lost_;
};

}  // namespace shardline
