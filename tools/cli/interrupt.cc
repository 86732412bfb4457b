#include "tools/cli/interrupt.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <utility>

#include "tools/cli/commands.h"

namespace shardline::cli {

Interrupt::Interrupt(std::function<void()> on_signal) : on_signal_(std::move(on_signal)) {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  thread_ = std::thread([this] { Watch(); });
}

Interrupt::~Interrupt() {
  stop_ = true;
  thread_.join();
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void Interrupt::Watch() {
  while (!stop_) {
    const timespec limit = {.tv_sec = 0, .tv_nsec = 20'000'000};
    if (sigtimedwait(&signals_, nullptr, &limit) < 0) continue;
    if (happened_.exchange(true)) _exit(kInterrupted);
    on_signal_();
  }
}

}  // namespace shardline::cli
