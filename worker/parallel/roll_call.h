// While the ranks of a group load, each for as long as it takes, they call to each other about once
// a second, from a thread of this class; nobody else calls the group then. So a rank that has
// finished knows that the others get on, and one that dies or cannot be reached any more is noticed
// by all, also by those that still load.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "worker/parallel/process_group.h"

namespace shardline {

class RollCall {
 public:
  struct Events {                                         // from the thread
    std::function<void()> headway;                        // a rank, whichever, got further
    std::function<void(const absl::Status& why)> failed;  // while this rank still loads
  };
  // The group outlives this.
  RollCall(ProcessGroup& group, Events events);
  ~RollCall();

  void Headway() { ++headway_; }  // this rank got further; from any thread
  // This rank is done; waits for the others. Errors: the group's.
  absl::Status Done();

 private:
  void Run();
  bool NextCall();  // false: this rank is done

  ProcessGroup& group_;
  const Events events_;
  std::atomic<uint64_t> headway_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  absl::Status status_;
  std::thread thread_;
};

}  // namespace shardline
