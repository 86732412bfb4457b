// A worker for tests: no model, but the channel and the messages of a real one. It answers a prompt
// with the prompt's own ids, one a step. The last argument says how it behaves:
//   serve          as it should
//   exit2          says a line on standard error and exits with 2, as for a bad model
//   crash          dies at once, before it is ready
//   hang           is ready, takes requests and finishes no step; one that begins with 99 kills it
//   stall          begins to load and gets no further
//   die, halt      begins to load, then is killed (SIGKILL), stopped (SIGSTOP)
//   follow         has loaded, and waits for rank 0, or for the other ranks
//   die_late, halt_late    has loaded, then is killed, stopped
//   slow           takes four seconds for its first step, and says all the while that it is at it
//   nonsense       is ready, then sends a message that no worker sends
// A prompt that begins with id 99 kills it (SIGKILL) after two tokens.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "shared/base/clock.h"
#include "shared/ipc/channel.h"

namespace shardline {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Job {
  Submit submit;
  uint32_t said = 0;
  bool paused = false;
};

class FakeWorker {
 public:
  FakeWorker(Channel& channel, std::string mode) : channel_(channel), mode_(std::move(mode)) {}

  int Run() {
    const auto configure = channel_.Receive(seconds(5));
    if (!configure.ok() || !configure->has_value() ||
        (*configure)->kind != MessageKind::kConfigure) {
      return 1;
    }
    Send(Progress{0.5, "pretending"});
    if (mode_ == "stall") return AwaitEnd();
    if (mode_ == "die" || mode_ == "halt") return Break();
    Send(Progress{1, "pretending"});
    if (mode_ == "follow") return AwaitEnd();
    if (mode_ == "die_late" || mode_ == "halt_late") return Break();
    Ready ready;
    ready.family = "fake";
    ready.dtype = "f32";
    ready.header.epoch = channel_.epoch();
    ready.header.vocabulary_size = 260;
    ready.header.context_tokens = 1000;
    ready.header.max_sequences = 4;
    ready.header.block_tokens = 16;
    ready.header.kv_blocks_total = 100;
    Send(ready);
    if (mode_ == "nonsense") Send(Pause{1});
    while (!shutdown_) {
      const auto message = channel_.Receive(jobs_.empty() ? seconds(1) : milliseconds(1));
      if (!message.ok()) return 0;  // the gateway is gone
      if (message->has_value()) Take(**message);
      if (mode_ != "hang") Step();
    }
    return 0;
  }

 private:
  int AwaitEnd() { return channel_.Receive(seconds(60)).ok() ? 1 : 0; }
  int Break() {
    kill(getpid(), mode_.starts_with("die") ? SIGKILL : SIGSTOP);
    return AwaitEnd();  // if somebody lets it go on
  }

  template <typename T>
  void Send(const T& message) {
    if (!channel_.Send(message, seconds(5)).ok()) std::exit(1);
  }

  void Take(const Received& message) {
    switch (message.kind) {
      case MessageKind::kSubmit:
        jobs_.push_back({*message.As<Submit>()});
        ++submitted_;
        if (mode_ == "hang" && jobs_.back().submit.prompt[0] == 99) kill(getpid(), SIGKILL);
        break;
      case MessageKind::kCancel: {
        const RequestKey key = message.As<Cancel>()->key;
        std::erase_if(jobs_, [key](const Job& job) { return job.submit.header.key == key; });
        break;
      }
      case MessageKind::kPause:
        SetPaused(message.As<Pause>()->key, true);
        break;
      case MessageKind::kResume:
        SetPaused(message.As<Resume>()->key, false);
        break;
      case MessageKind::kShutdown:
        shutdown_ = true;
        break;
      default:
        std::exit(1);
    }
  }

  void SetPaused(RequestKey key, bool paused) {
    for (Job& job : jobs_) {
      if (job.submit.header.key == key) job.paused = paused;
    }
  }

  void Step() {
    if (jobs_.empty()) return;
    for (int i = 0; mode_ == "slow" && step_ == 0 && i < 200; ++i) {
      usleep(20'000);
      Send(Progress{0, "step"});
    }
    for (Job& job : jobs_) {
      if (!job.paused) Say(job);
    }
    std::erase_if(jobs_, [](const Job& job) { return job.said == job.submit.prompt.size(); });
    StepReport report{};
    report.epoch = channel_.epoch();
    report.step = ++step_;
    report.finished_at_ns = MonotonicNanoseconds();
    report.running_sequences = static_cast<uint32_t>(jobs_.size());
    report.free_sequences = 4 - report.running_sequences;
    report.kv_blocks_total = 100;
    report.submitted = submitted_;
    Send(report);
  }

  void Say(Job& job) {
    const Submit& submit = job.submit;
    if (submit.prompt[0] == 99 && job.said == 2) kill(getpid(), SIGKILL);
    Tokens tokens;
    tokens.header.key = submit.header.key;
    tokens.header.first_index = job.said;
    tokens.tokens = {{.id = submit.prompt[job.said], .logprob = NAN}};
    Send(tokens);
    if (++job.said < submit.prompt.size()) return;
    Finished finished{};
    finished.key = submit.header.key;
    finished.reason = FlatFinish::kLength;
    finished.output_tokens = job.said;
    Send(finished);
  }

  Channel& channel_;
  const std::string mode_;
  std::vector<Job> jobs_;
  uint64_t step_ = 0, submitted_ = 0;
  bool shutdown_ = false;
};

int Main(int argc, char** argv) {
  uint64_t epoch = 0;
  std::string mode = "serve";
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.rfind("--epoch=", 0) == 0) {
      epoch = std::strtoull(argument.c_str() + 8, nullptr, 10);
    } else if (argument.rfind("--", 0) != 0) {
      mode = argument;
    }
  }
  if (mode == "exit2") {
    std::fprintf(stderr, "fake-worker: there is no such model\n");
    return 2;
  }
  if (mode == "crash") kill(getpid(), SIGKILL);
  auto channel = Channel::Attach(3, epoch);
  if (!channel.ok()) {
    std::fprintf(stderr, "fake-worker: %s\n", Message(channel.status()).c_str());
    return 1;
  }
  return FakeWorker(**channel, mode).Run();
}

}  // namespace
}  // namespace shardline

int main(int argc, char** argv) { return shardline::Main(argc, argv); }
