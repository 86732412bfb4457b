#include "tests/tools/cli/child.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

namespace shardline::cli {
namespace {

constexpr int kPatienceMs = 10'000;

[[noreturn]] void Execute(std::vector<char*>& arguments, const Arguments& environment) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGINT, SIG_DFL);
  for (const std::string& variable : environment) putenv(const_cast<char*>(variable.c_str()));
  execv(arguments[0], arguments.data());
  _exit(127);
}

}  // namespace

Child::Child(On on, const Arguments& arguments, const Arguments& environment) {
  std::vector<char*> words = {const_cast<char*>(SHARDLINE_PROGRAM)};
  for (const std::string& argument : arguments)
    words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  if (on == On::kTerminal) {
    winsize size{.ws_row = 40, .ws_col = 200};
    pid_ = forkpty(&in_, nullptr, nullptr, &size);
    if (pid_ == 0) Execute(words, environment);
    out_ = in_;
    return;
  }
  int to[2], from[2];
  if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) return;
  pid_ = fork();
  if (pid_ == 0) {
    dup2(to[0], 0);
    dup2(from[1], 1);
    dup2(from[1], 2);
    Execute(words, environment);
  }
  close(to[0]);
  close(from[1]);
  in_ = to[1];
  out_ = from[0];
}

Child::~Child() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (in_ >= 0) close(in_);
  if (out_ != in_) close(out_);
}

void Child::Type(std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = write(in_, text.data(), text.size());
    if (count <= 0) return;
    text.remove_prefix(static_cast<size_t>(count));
  }
}

void Child::Signal(int signal) { kill(pid_, signal); }

bool Child::ReadSome() {
  pollfd wait{out_, POLLIN, 0};
  if (poll(&wait, 1, kPatienceMs) <= 0) return false;
  char buffer[4096];
  const ssize_t count = read(out_, buffer, sizeof(buffer));
  if (count <= 0) return false;
  output_.append(buffer, static_cast<size_t>(count));
  return true;
}

bool Child::Shows(std::string_view text) {
  for (;;) {
    const size_t at = output_.find(text, seen_);
    if (at != std::string::npos) {
      seen_ = at + text.size();
      return true;
    }
    if (!ReadSome()) return false;
  }
}

int Child::End() {
  if (in_ != out_) {
    close(in_);
    in_ = -1;
  }
  while (ReadSome()) {
  }
  int status = 0;
  for (int waited = 0; waitpid(pid_, &status, WNOHANG) == 0; waited += 10) {
    if (waited > kPatienceMs) return -1000;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  pid_ = -1;
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace shardline::cli
