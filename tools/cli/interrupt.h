// Ctrl-C and SIGTERM. While a call runs, the first calls back (from a thread, so it may do
// anything).
#pragma once

#include <signal.h>

#include <atomic>
#include <functional>
#include <thread>

namespace shardline::cli {

// Keeps SIGINT and SIGTERM from the calling thread, and from threads that it starts meanwhile, for
// as long as the object lives.
class SignalsHeld {
 public:
  SignalsHeld();
  ~SignalsHeld();
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;

  const sigset_t& signals() const { return signals_; }

 private:
  sigset_t signals_;
  sigset_t before_;
};

class Interrupt {
 public:
  enum class Second { kEndsProgram, kIsIgnored };
  // Holds the signals in the calling thread; threads that it starts later inherit that.
  explicit Interrupt(std::function<void()> on_signal, Second second = Second::kEndsProgram);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool happened() const { return signal_ != 0; }
  // True when SIGTERM came, be it after Ctrl-C.
  bool terminated() const { return terminated_; }

 private:
  void Watch();

  std::function<void()> on_signal_;
  Second second_;
  SignalsHeld held_;
  std::atomic<int> signal_ = 0;  // the first
  std::atomic<bool> terminated_ = false;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace shardline::cli
