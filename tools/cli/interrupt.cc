#include "tools/cli/interrupt.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <utility>

#include "tools/cli/commands.h"

namespace shardline::cli {

SignalsHeld::SignalsHeld() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals_, &before_);
}

SignalsHeld::~SignalsHeld() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

Interrupt::Interrupt(std::function<void()> on_signal, Second second)
    : on_signal_(std::move(on_signal)), second_(second), thread_([this] { Watch(); }) {}

Interrupt::~Interrupt() {
  stop_ = true;
  thread_.join();
}

void Interrupt::Watch() {
  while (!stop_) {
    const timespec limit = {.tv_sec = 0, .tv_nsec = 20'000'000};
    const int signal = sigtimedwait(&held_.signals(), nullptr, &limit);
    if (signal < 0) continue;
    if (signal == SIGTERM) terminated_ = true;
    if (signal_ == 0) {
      signal_ = signal;
      on_signal_();
    } else if (second_ == Second::kEndsProgram || signal == SIGTERM) {
      _exit(kInterrupted);
    }
  }
}

}  // namespace shardline::cli
