#include <pthread.h>
#include <signal.h>

#include <istream>

#include "tools/cli/input.h"
#include "tools/cli/line_source.h"

namespace shardline::cli {
namespace {

class Piped : public LineSource {
 public:
  explicit Piped(std::istream& in) : in_(in) {}

  LineEnd Next(const std::string&, std::string& line) override {
    sigset_t signals, before;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_UNBLOCK, &signals, &before);
    const absl::StatusOr<bool> more = ReadLine(in_, line);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (!more.ok()) return LineEnd::kTooLong;
    if (*more && !line.empty() && line.back() == '\r') line.pop_back();
    return *more ? LineEnd::kLine : LineEnd::kEnd;
  }

 private:
  std::istream& in_;
};

}  // namespace

std::unique_ptr<LineSource> PipedLines(std::istream& in) { return std::make_unique<Piped>(in); }

}  // namespace shardline::cli
