#include "shared/base/trace.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "shared/base/clock.h"

namespace shardline {
namespace {

constexpr size_t kBufferBytes = size_t{64} << 10;
constexpr uint64_t kFlushNs = 500'000'000;

void AppendJsonString(std::string& out, std::string_view text) {
  out.push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) == 0x7f) {
      char code[8];
      std::snprintf(code, sizeof(code), "\\u%04x", static_cast<unsigned char>(c));
      out.append(code);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

// Microseconds with three places.
std::string Microseconds(uint64_t ns) {
  char text[32];
  std::snprintf(text, sizeof(text), "%llu.%03u", static_cast<unsigned long long>(ns / 1000),
                static_cast<unsigned>(ns % 1000));
  return text;
}

// The members that every event has, without the closing brace.
std::string Head(std::string_view name, char phase, uint64_t at_ns) {
  std::string head = R"({"name":)";
  AppendJsonString(head, name);
  return head += Cat(R"(,"ph":")", phase, R"(","pid":)", getpid(), R"(,"tid":)", gettid(),
                     R"(,"ts":)", Microseconds(at_ns));
}

std::string Tail(const TraceArguments& arguments) {
  return Cat(R"(,"args":{)", arguments.members(), "}},\n");
}

}  // namespace

void TraceArguments::Name(std::string_view name) {
  if (!members_.empty()) members_.push_back(',');
  AppendJsonString(members_, name);
  members_.push_back(':');
}

TraceArguments& TraceArguments::Add(std::string_view name, uint64_t value) {
  Name(name);
  members_ += Cat(value);
  return *this;
}

TraceArguments& TraceArguments::Add(std::string_view name, std::string_view text) {
  Name(name);
  AppendJsonString(members_, text);
  return *this;
}

TraceArguments& TraceArguments::Add(std::string_view name, std::span<const uint64_t> values) {
  Name(name);
  members_.push_back('[');
  for (size_t i = 0; i < values.size(); ++i) members_ += Cat(i == 0 ? "" : ",", values[i]);
  members_.push_back(']');
  return *this;
}

absl::StatusOr<std::unique_ptr<Trace>> Trace::Begin(const std::string& path,
                                                    std::string_view process) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return InvalidArgument(path, ": cannot be written: ", std::strerror(errno));
  std::unique_ptr<Trace> trace(new Trace(fd, process));
  if (write(fd, "[\n", 2) != 2) {
    return InvalidArgument(path, ": cannot be written: ", std::strerror(errno));
  }
  trace->NameProcess(",\n");
  {
    std::lock_guard lock(trace->mutex_);
    trace->Flush();  // before any other process joins
  }
  return trace;
}

absl::StatusOr<std::unique_ptr<Trace>> Trace::Join(const std::string& path,
                                                   std::string_view process) {
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd < 0) return InvalidArgument(path, ": cannot be written: ", std::strerror(errno));
  std::unique_ptr<Trace> trace(new Trace(fd, process));
  trace->NameProcess(",\n");
  return trace;
}

Trace::~Trace() {
  {
    std::lock_guard lock(mutex_);
    Flush();
  }
  close(fd_);
}

void Trace::NameProcess(std::string_view end_of_line) {
  std::string line = Head("process_name", 'M', 0) + R"(,"args":{"name":)";
  AppendJsonString(line, process_);
  Write(Cat(line, "}}", end_of_line));
}

void Trace::Span(std::string_view name, uint64_t start_ns, uint64_t end_ns,
                 const TraceArguments& arguments) {
  const uint64_t length = end_ns > start_ns ? end_ns - start_ns : 0;
  Write(Cat(Head(name, 'X', start_ns), R"(,"dur":)", Microseconds(length), Tail(arguments)));
}

void Trace::AsyncSpan(std::string_view name, uint64_t id, uint64_t start_ns, uint64_t end_ns,
                      const TraceArguments& arguments) {
  const std::string on_line = Cat(R"(,"cat":"request","id":)", id);
  Write(Cat(Head(name, 'b', start_ns), on_line, Tail(arguments)));
  Write(Cat(Head(name, 'e', end_ns), on_line, Tail({})));
}

void Trace::Instant(std::string_view name, uint64_t at_ns, const TraceArguments& arguments) {
  Write(Cat(Head(name, 'i', at_ns), R"(,"s":"p")", Tail(arguments)));
}

void Trace::End() {
  NameProcess("\n]\n");
  std::lock_guard lock(mutex_);
  Flush();
  failed_ = true;
}

void Trace::Write(std::string line) {
  std::lock_guard lock(mutex_);
  if (failed_) return;
  buffer_ += line;
  const uint64_t now = MonotonicNanoseconds();
  if (buffer_.size() >= kBufferBytes || now - flushed_ns_ >= kFlushNs) Flush();
}

// Whole lines in one write, so that processes do not write into each other's.
void Trace::Flush() {
  flushed_ns_ = MonotonicNanoseconds();
  if (failed_ || buffer_.empty()) return;
  written_ += buffer_.size();
  const bool complete =
      write(fd_, buffer_.data(), buffer_.size()) == static_cast<ssize_t>(buffer_.size());
  buffer_.clear();
  if (complete && written_ < kMaxBytes) return;
  failed_ = true;
  std::fprintf(stderr, "warning: the trace ends here: %s\n",
               complete ? "it has reached its largest size" : "it cannot be written any more");
}

}  // namespace shardline
