#include "shared/base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "shared/base/clock.h"

extern char** environ;

namespace shardline {
namespace {

// The file actions and attributes of one posix_spawn, and the descriptors moved for it.
class SpawnPlan {
 public:
  SpawnPlan() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnPlan() {
    for (int fd : moved_) close(fd);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  // Returns 0 or an errno.
  int Fill(const SpawnOptions& options) {
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (options.stdout_to_stderr) posix_spawn_file_actions_adddup2(&actions, 2, 1);
    // Out of the way first, so that placing one descriptor cannot overwrite the next.
    const int count = static_cast<int>(options.descriptors.size());
    for (int i = 0; i < count; ++i) {
      const int fd = fcntl(options.descriptors[i], F_DUPFD_CLOEXEC, 3 + count);
      if (fd < 0) return errno;
      moved_.push_back(fd);
      posix_spawn_file_actions_adddup2(&actions, fd, 3 + i);
    }
    posix_spawn_file_actions_addclosefrom_np(&actions, 3 + count);

    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (options.own_process_group) flags |= POSIX_SPAWN_SETPGROUP;
    return posix_spawnattr_setflags(&attributes, flags);
  }

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;

 private:
  std::vector<int> moved_;
};

int PollMilliseconds(Clock::time_point deadline) {
  const auto left = deadline - Clock::now();
  if (left <= Clock::duration::zero()) return 0;
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::min<int64_t>(ms, INT_MAX));
}

}  // namespace

std::string Describe(const ExitStatus& status) {
  if (!status.signalled) return Cat("exit code ", status.code);
  const char* name = sigabbrev_np(status.code);
  return name != nullptr ? Cat("killed by SIG", name) : Cat("killed by signal ", status.code);
}

absl::StatusOr<Process> Process::Spawn(const SpawnOptions& options) {
  SpawnPlan plan;
  if (const int error = plan.Fill(options); error != 0) {
    return FailedPrecondition("cannot start ", options.program, ": ", strerror(error));
  }
  std::vector<char*> argv;
  argv.push_back(const_cast<char*>(options.program.c_str()));
  for (const std::string& argument : options.arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);

  Process process;
  const int error = posix_spawn(&process.pid_, options.program.c_str(), &plan.actions,
                                &plan.attributes, argv.data(), environ);
  if (error != 0) {
    process.pid_ = -1;
    return FailedPrecondition("cannot start ", options.program, ": ", strerror(error));
  }
  const absl::StatusOr<int> pidfd = OpenPidfd(process.pid_);  // our child: the pid is not reused
  if (pidfd.ok()) {
    process.pidfd_ = *pidfd;
  } else if (!absl::IsUnimplemented(pidfd.status())) {
    return pidfd.status();
  }
  return process;
}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    std::swap(pid_, other.pid_);
    std::swap(pidfd_, other.pidfd_);
    std::swap(status_, other.status_);
  }
  return *this;
}

Process::~Process() {
  if (pid_ > 0 && !status_) {
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  if (pidfd_ >= 0) close(pidfd_);
}

void Process::Signal(int number) const {
  if (pid_ > 0 && !status_) kill(pid_, number);
}

std::optional<ExitStatus> Process::Wait(std::chrono::nanoseconds timeout) {
  if (status_ || pid_ <= 0) return status_;
  const auto deadline = DeadlineAfter(timeout);
  if (pidfd_ >= 0 && !ProcessEnded(pidfd_, timeout)) return std::nullopt;
  int raw = 0;
  pid_t reaped = 0;
  for (;;) {
    reaped = waitpid(pid_, &raw, pidfd_ >= 0 ? 0 : WNOHANG);
    if (reaped != 0 && !(reaped < 0 && errno == EINTR)) break;
    if (reaped == 0 && Clock::now() >= deadline) return std::nullopt;
    if (reaped == 0) usleep(2000);  // where there is no pidfd to wait for
  }
  if (reaped < 0) return status_ = ExitStatus{false, 255};  // someone else reaped it
  status_ =
      WIFSIGNALED(raw) ? ExitStatus{true, WTERMSIG(raw)} : ExitStatus{false, WEXITSTATUS(raw)};
  return status_;
}

std::string ProgramBesideThisOne(std::string_view name) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (self.parent_path() / name).string();
}

absl::Status DieWithParent(pid_t expected_parent) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
    return Internal("cannot ask for the parent's death signal: ", strerror(errno));
  }
  // The parent may have died before the request was in force.
  if (getppid() != expected_parent) return Unavailable("the parent process is gone");
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> StartTicks(pid_t pid) {
  std::ifstream file(Cat("/proc/", pid, "/stat"));
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  // Field 22; fields are counted from the ')' on, since the program's name may hold anything.
  size_t at = text.rfind(')');
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = text.find(' ', at + 1);
  uint64_t ticks = 0;
  if (at == std::string::npos ||
      std::from_chars(text.data() + at + 1, text.data() + text.size(), ticks).ec != std::errc()) {
    return NotFound("no process ", pid);
  }
  return ticks;
}

absl::StatusOr<int> OpenPidfd(pid_t pid) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0 && (errno == ENOSYS || errno == EPERM)) {
    return absl::UnimplementedError("this system has no pidfd_open");
  }
  if (fd < 0) return NotFound("cannot watch process ", pid, ": ", strerror(errno));
  return fd;
}

bool ProcessEnded(int pidfd, std::chrono::nanoseconds timeout) {
  const auto deadline = DeadlineAfter(timeout);
  for (;;) {
    pollfd event{pidfd, POLLIN, 0};
    const int ready = poll(&event, 1, PollMilliseconds(deadline));
    if (ready > 0) return (event.revents & (POLLIN | POLLHUP)) != 0;
    if (ready < 0 && errno != EINTR) return false;
    if (Clock::now() >= deadline) return false;
  }
}

}  // namespace shardline
