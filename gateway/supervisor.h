// Keeps one worker group running: spawns its ranks, waits for them to load, hands their messages to
// the router, notices the end of any of them at once and a standstill within a limit, and starts
// the next group. All of that is one thread, which lasts as long as the gateway: a worker dies with
// the thread that spawned it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gateway/metrics.h"
#include "gateway/rank_processes.h"
#include "gateway/router.h"
#include "gateway/worker_link.h"
#include "shared/base/clock.h"
#include "shared/base/process.h"

namespace shardline {

class Supervisor {
 public:
  struct Options {
    // Which replica of how many: the group that the router knows it by, and what makes the epochs
    // unique in the gateway.
    int group = 0, replicas = 1;
    uint64_t first_epoch = 1;  // of replica 0
    std::string program;
    int first_rank = 0, ranks = 1;  // on this host
    bool over_tcp = false;          // the ranks meet at --rendezvous
    int rendezvous_fd = -1;         // which rank 0 listens at; -1: it runs elsewhere
    std::function<std::vector<std::string>(uint64_t epoch, int rank)> arguments;
    std::vector<uint32_t> eos_ids;
    double step_limit_seconds = 30;   // without headway while there is work
    double load_limit_seconds = 300;  // without headway while loading
    Trace* trace = nullptr;           // outlives the supervisor
    int max_failed_starts = 5;        // in a row, without serving
    double first_backoff_seconds = 0.1;
    double max_backoff_seconds = 5;
  };
  // Called from the supervisor's thread; must not block.
  struct Events {
    std::function<void(bool ready)> readiness;  // the worker serves, or it does not
    std::function<void(bool live)> liveness;    // false: the worker stands still; true: it serves
    // No worker is likely to serve any more; exit code 2 for a bad model or flag (the worker has
    // said why), else 1. True: it is over; false: go on trying.
    std::function<bool(int exit_code, std::string why)> gave_up;
  };
  Supervisor(Options options, Events events, Router* router, Metrics* metrics);
  ~Supervisor() { Stop(); }

  void Start();
  // Lets the worker finish its step and exit, for a second at most, then kills it.
  void AskToStop();
  // And joins the thread.
  void Stop();

 private:
  struct End {
    bool served = false;
    std::string why;
    std::optional<ExitStatus> exit;  // nullopt: it never started
  };
  void Run();
  End RunWorker(uint64_t epoch);
  absl::Status Serve(RankProcesses& ranks, bool& served);
  absl::Status Dispatch(const Received& message, const std::shared_ptr<WorkerLink>& port,
                        bool& served);
  absl::Status CheckProgress(bool served) const;
  void Note(std::string_view what, uint64_t epoch);  // in the trace
  void ShowProgress(int index, const Progress& progress);
  bool Sleep(double seconds);  // false: stopping

  const Options options_;
  const Events events_;
  Router* const router_;
  Metrics* const metrics_;
  const std::string which_;  // for messages, where there are several
  const size_t group_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;  // for sleeping alone
  std::condition_variable wake_;
  std::thread thread_;
  std::atomic<uint64_t> last_message_ns_{0};  // of any rank
  std::mutex progress_mutex_;
  std::vector<Progress> progress_;  // of each rank
  Progress shown_{-1, ""};
  Clock::time_point started_;  // when the ranks were
};

}  // namespace shardline
