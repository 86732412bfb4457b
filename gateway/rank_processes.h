// The processes of one worker group: rank 0, which talks for all of them, and the ranks that follow
// it. Each is a child with a channel of its own, so that its progress is heard and its end noticed
// at once; several meet in a shared-memory segment. One rank's end is the end of the group.
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
    int ranks = 1;
    uint64_t epoch = 0;
    std::function<std::vector<std::string>(uint64_t epoch, int rank)> arguments;
    std::vector<uint32_t> eos_ids;
    // Of ranks other than 0; from threads of their own.
    std::function<void(int rank, const Progress& progress)> progress;
  };
  // Starts all ranks, from the calling thread, with which they end. Errors: what spawning or shared
  // memory gives; nothing is left running then.
  static absl::StatusOr<std::unique_ptr<RankProcesses>> Start(Options options);
  ~RankProcesses();  // kills what still runs

  // Rank 0's, to receive from and send to. It closes when another rank ends.
  const std::shared_ptr<WorkerLink>& leader() const { return ranks_[0].link; }
  // Whether rank 0 has ended, although its channel may not have noticed (it never attached).
  bool leader_ended();
  // Which rank ended before the others, and how, if it was another one than rank 0 or was killed;
  // after End. Empty: none.
  std::string lost_rank() const;

  void Kill();
  // Closes the channels, lets the processes end for so long, then kills them. Rank 0's end; nullopt
  // if even that failed.
  std::optional<ExitStatus> End(std::chrono::nanoseconds patience);

 private:
  struct Rank {
    std::shared_ptr<WorkerLink> link;
    Process process;
    std::thread watch;  // of followers
  };
  explicit RankProcesses(Options options) : options_(std::move(options)) {}
  absl::Status StartRank(int rank, int group_fd);
  void Watch(int rank);
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
