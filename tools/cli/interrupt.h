// Ctrl-C and SIGTERM while a call runs: the first calls back (from a thread, so it may do
// anything), a second one ends the program.
#pragma once

#include <signal.h>

#include <atomic>
#include <functional>
#include <thread>

namespace shardline::cli {

class Interrupt {
 public:
  // Blocks the signals in the calling thread; threads that it starts later inherit that.
  explicit Interrupt(std::function<void()> on_signal);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool happened() const { return happened_; }

 private:
  void Watch();

  std::function<void()> on_signal_;
  sigset_t signals_;
  sigset_t before_;
  std::atomic<bool> happened_ = false;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace shardline::cli
