// A stand-in for NCCL and a GPU: the same table of functions over shared memory, between threads
// or processes, and a stream that is a thread. Like NCCL it knows nothing of dead ranks (what waits
// for one waits until it is aborted), its own sum has another order, and calls may be "in
// progress".
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "worker/parallel/nccl_group.h"

namespace shardline::testing {

struct FakeNcclState {
  std::atomic<int> ranks{1};                          // of the communicators to be made
  std::atomic<int> in_progress{0};                    // so often one says so after every call
  std::atomic<bool> hang{false};                      // queued calls never end
  std::atomic<NcclResult> async_error{kNcclSuccess};  // of every communicator
  std::atomic<NcclResult> refuse{kNcclSuccess};       // what collectives return
  void Reset(int of) {
    ranks = of, in_progress = 0, hang = false, async_error = refuse = kNcclSuccess;
  }
};
FakeNcclState& FakeNcclKnobs();

const NcclApi& FakeNccl();

// The device's memory is the process's, and its queue one thread.
class FakeStream final : public DeviceStream {
 public:
  FakeStream() : thread_([this] { Run(); }) {}
  ~FakeStream() override;
  NcclStream handle() const override { return const_cast<FakeStream*>(this); }
  absl::StatusOr<void*> Allocate(size_t bytes) override;
  void Free(void* memory) override;
  absl::Status Sum(const std::vector<const void*>& parts, const View& out) override;
  absl::StatusOr<bool> Idle() override;
  void Queue(std::function<void()> work);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool running_ = false, stopping_ = false;
  std::thread thread_;
};

}  // namespace shardline::testing
