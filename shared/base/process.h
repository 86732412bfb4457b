// Child processes: start one with chosen descriptors, watch it through a pidfd, reap it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shared/base/status.h"

namespace shardline {

struct ExitStatus {
  bool signalled = false;  // ended by a signal
  int code = 0;            // exit code, or the signal's number
  bool clean() const { return !signalled && code == 0; }
};
// "exit code 2", "killed by SIGKILL"
std::string Describe(const ExitStatus& status);

struct SpawnOptions {
  std::string program;                 // path; PATH is not searched
  std::vector<std::string> arguments;  // without the program's own name
  // The child finds descriptors[i] open as 3 + i. Standard streams apart it inherits nothing else.
  std::vector<int> descriptors;
  bool stdout_to_stderr = true;   // what the child prints does not mix with our standard output
  bool own_process_group = true;  // a terminal's Ctrl-C reaches us alone
};

// A child process. Destroying it kills and reaps the child if it still runs.
class Process {
 public:
  // The child starts with no signal blocked and default handlers, standard input from /dev/null.
  // Errors: FailedPrecondition naming the program.
  static absl::StatusOr<Process> Spawn(const SpawnOptions& options);

  Process() = default;
  Process(Process&& other) noexcept { *this = std::move(other); }
  Process& operator=(Process&& other) noexcept;
  ~Process();

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_; }  // readable once the child has ended; -1: no such thing here

  // Sends a signal; without effect on a child that has been reaped.
  void Signal(int number) const;

  // The exit status once the child has ended (then the same on every call); nullopt after
  // `timeout`. One thread at a time.
  std::optional<ExitStatus> Wait(std::chrono::nanoseconds timeout);

 private:
  pid_t pid_ = -1;
  int pidfd_ = -1;
  std::optional<ExitStatus> status_;
};

// The path of a program in the folder of the one that runs.
std::string ProgramBesideThisOne(std::string_view name);

// Called early by a child program: SIGKILL reaches us when the parent *thread* that started us ends
// (so parents spawn from a thread that lasts). Errors: Unavailable if the parent is gone already.
absl::Status DieWithParent(pid_t expected_parent);

// Start time of a process in clock ticks since boot: with the pid it names one process for good.
// Errors: NotFound if there is none.
absl::StatusOr<uint64_t> StartTicks(pid_t pid);

// A descriptor that becomes readable when that process ends. Errors: NotFound if there is none,
// Unimplemented where the system has no such thing (valgrind, old sandboxes).
absl::StatusOr<int> OpenPidfd(pid_t pid);

// Whether a pidfd's process has ended; waits up to `timeout`.
bool ProcessEnded(int pidfd, std::chrono::nanoseconds timeout);

}  // namespace shardline
