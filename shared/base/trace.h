// Chrome trace events, for Perfetto: https://ui.perfetto.dev opens the file. The gateway begins it,
// its workers append to it; all stamps are CLOCK_MONOTONIC, so both processes stand on one line of
// time. Format: "Trace Event Format", JSON array form (a file that ends without `]` opens too).
// Thread-safe. Whoever traces asks a pointer first: without --trace-file nothing is done at all.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "shared/base/status.h"

namespace shardline {

// What an event tells besides its name and time: members of a JSON object.
class TraceArguments {
 public:
  TraceArguments& Add(std::string_view name, uint64_t value);
  TraceArguments& Add(std::string_view name, std::string_view text);
  TraceArguments& Add(std::string_view name, std::span<const uint64_t> values);

  const std::string& members() const { return members_; }

 private:
  void Name(std::string_view name);
  std::string members_;
};

class Trace {
 public:
  static constexpr uint64_t kMaxBytes = uint64_t{1}
                                        << 30;  // of one process; what comes later is lost

  // A new file, and one that another process has begun. `process` names this one.
  // Errors: InvalidArgument "PATH: …".
  static absl::StatusOr<std::unique_ptr<Trace>> Begin(const std::string& path,
                                                      std::string_view process);
  static absl::StatusOr<std::unique_ptr<Trace>> Join(const std::string& path,
                                                     std::string_view process);
  ~Trace();

  // Something this thread did; spans of one thread nest by their times.
  void Span(std::string_view name, uint64_t start_ns, uint64_t end_ns,
            const TraceArguments& arguments = {});
  // Something that happened to what has this number, on a line of its own.
  void AsyncSpan(std::string_view name, uint64_t id, uint64_t start_ns, uint64_t end_ns,
                 const TraceArguments& arguments = {});
  void Instant(std::string_view name, uint64_t at_ns, const TraceArguments& arguments = {});

  // Closes the file's array. Nothing may be written afterwards, by no process.
  void End();

 private:
  Trace(int fd, std::string_view process) : fd_(fd), process_(process) {}
  void NameProcess(std::string_view end_of_line);
  void Write(std::string line);
  void Flush();  // with the lock held

  const int fd_;
  const std::string process_;
  std::mutex mutex_;
  std::string buffer_;
  uint64_t written_ = 0, flushed_ns_ = 0;
  bool failed_ = false;  // the disk is full, or kMaxBytes are written
};

}  // namespace shardline
