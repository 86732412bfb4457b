#include "gateway/life.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <utility>

#include "shared/base/quoted.h"

namespace shardline {

Life::Life() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signals_ = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  news_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

Life::~Life() {
  close(signals_);
  close(news_);
}

void Life::GaveUp(int exit_code, std::string why) {
  {
    std::lock_guard lock(mutex_);
    why_ = std::move(why);
  }
  exit_code_ = exit_code;
  Wake();
}

void Life::Wait(std::chrono::milliseconds timeout) {
  pollfd fds[] = {{signals_, POLLIN, 0}, {news_, POLLIN, 0}};
  poll(fds, 2, static_cast<int>(timeout.count()));
  signalfd_siginfo info;
  while (read(signals_, &info, sizeof(info)) == sizeof(info)) ++stops_;
  uint64_t count;
  while (read(news_, &count, sizeof(count)) == sizeof(count)) {
  }
}

std::string Life::why() {
  std::lock_guard lock(mutex_);
  return why_;
}

void Life::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(news_, &one, sizeof(one));
}

int Fail(int code, const std::string& line) {
  if (!line.empty()) std::fprintf(stderr, "shardline-gateway: %s\n", OneLine(line).c_str());
  return code;
}

}  // namespace shardline
