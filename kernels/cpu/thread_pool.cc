#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace shardline {
namespace {

// Long enough to bridge the small single-threaded operations between two large ones; short, so that
// more threads than cores do not starve each other.
constexpr std::chrono::microseconds kSpin{20};

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Returns when `value` is no longer `old`: first looking, then asleep.
uint32_t WaitWhile(const std::atomic<uint32_t>& value, uint32_t old) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (const uint32_t now = value.load(std::memory_order_acquire); now != old) return now;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

struct ThreadPool::State {
  const std::function<void(int, int)>* task = nullptr;
  bool stop = false;
  alignas(64) std::atomic<uint32_t> round{0};    // changes when there is a new task, or to stop
  alignas(64) std::atomic<uint32_t> running{0};  // threads that have not finished the task
  std::vector<std::thread> threads;

  void Serve(int part, int parts) {
    uint32_t seen = 0;
    while (true) {
      seen = WaitWhile(round, seen);
      if (stop) return;
      (*task)(part, parts);
      if (running.fetch_sub(1, std::memory_order_acq_rel) == 1) running.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  const int parts = threads < 1 ? 1 : threads;
  for (int part = 1; part < parts; ++part) {
    state_->threads.emplace_back(
        [state = state_.get(), part, parts] { state->Serve(part, parts); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stop = true;
  state_->round.fetch_add(1, std::memory_order_release);
  state_->round.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

int ThreadPool::size() const { return static_cast<int>(state_->threads.size()) + 1; }

void ThreadPool::Run(const std::function<void(int part, int parts)>& task) {
  const int parts = size();
  if (parts == 1) {
    task(0, 1);
    return;
  }
  state_->task = &task;
  state_->running.store(static_cast<uint32_t>(parts - 1), std::memory_order_relaxed);
  state_->round.fetch_add(1, std::memory_order_release);
  state_->round.notify_all();
  task(0, parts);
  for (uint32_t left; (left = state_->running.load(std::memory_order_acquire)) != 0;) {
    WaitWhile(state_->running, left);
  }
}

}  // namespace shardline
