// shardline-worker: started by the gateway with one end of a channel; loads the model, says Ready
// and runs the step loop until it is told to stop or the gateway is gone.
//
//   settings → attach, watch the gateway → Configure → load (Progress) → Ready → Engine::Run
//                                          `------ worker/set_up.cc ------´
//
// Of several ranks of a replica each is such a process and loads its own part of the model. They
// agree on whether all went well; rank 0 then says Ready, or why not, and runs the engine, the
// others follow it. Where they run on several nodes, the first rank of each says so to its gateway.
//
// With --print-spec it tells what the model is made of and ends, with --print-families what models
// there are; no gateway is needed for that.
//
// Exit codes: 0 clean, 1 failed while running, 2 bad flags or model; the reason is one line on
// standard error.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>

#include "shared/base/process.h"
#include "shared/format/mapped_file.h"
#include "shared/ipc/channel.h"
#include "worker/engine/channel_port.h"
#include "worker/engine/follower.h"
#include "worker/fail.h"
#include "worker/models/describe.h"
#include "worker/models/registry.h"
#include "worker/set_up.h"
#include "worker/settings.h"

namespace shardline {
namespace {

using std::chrono::seconds;

// The gateway decides when this process ends: signals from a terminal or a service manager go to
// it, and its own end is ours too.
absl::StatusOr<std::unique_ptr<Channel>> AttachToGateway(const WorkerSettings& settings) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) signal(number, SIG_IGN);
  SL_RETURN_IF_ERROR(DieWithParent(settings.parent_pid > 0 ? settings.parent_pid : getppid()));
  SL_ASSIGN_OR_RETURN(auto channel, Channel::Attach(settings.channel_fd, settings.epoch));
  channel->OnPeerGone([](const absl::Status&) { _exit(0); });  // nobody is left to tell
  return channel;
}

absl::Status Run(Port& port, Worker& worker) {
  if (worker.leads()) return worker.engine->Run();
  std::function<void()> heard;  // a gateway without rank 0 knows so that all is well
  if (worker.settings.speaks()) heard = [&port] { port.AtWork(); };
  return Follower(*worker.plans, *worker.model, *worker.state, worker.trace.get(), heard).Run();
}

int Print(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    return Fail(1, Unavailable("standard output cannot be written"));
  }
  return 0;
}

// Nothing is wrong with this rank's flags or model: another rank has gone.
bool GroupEnded(const Worker& worker, const absl::Status& status) {
  return worker.settings.ranks > 1 && (absl::IsUnavailable(status) || absl::IsCancelled(status) ||
                                       absl::IsDeadlineExceeded(status));
}

// All ranks have the same error or soon another for it: the first of the node tells, the others
// keep their place until the gateway, which has seen that one end, closes theirs. It may stand
// still and tell nothing: it is waited for long only where its exit code decides what follows.
int FailTogether(int code, const absl::Status& status, const Worker& worker, Channel& channel) {
  if (worker.settings.speaks()) return Fail(code, status);
  (void)channel.Receive(seconds(code == 2 ? 30 : 2));
  return code;
}

int PrintSpec(const WorkerSettings& settings) {
  std::string text;
  const absl::Status status = WithoutExceptions(settings, [&]() -> absl::Status {
    SL_ASSIGN_OR_RETURN(text, DescribeModel(OptionsOf(settings)));
    return absl::OkStatus();
  });
  return status.ok() ? Print(text) : Fail(2, status);
}

int Main(int argc, char** argv) {
  auto settings = WorkerSettingsFromCommandLine(argc, argv);
  if (!settings.ok()) return Fail(2, settings.status());
  if (settings->print_families) return Print(FamiliesTable());
  if (settings->print_spec) return PrintSpec(*settings);
  auto channel = AttachToGateway(*settings);
  if (!channel.ok()) return Fail(2, channel.status());
  ChannelPort port(**channel);
  ExitWhenMappedFilesShrink("shardline-worker");
  Worker worker{.settings = *settings};
  if (const absl::Status status = SetUp(**channel, port, worker); !status.ok()) {
    return FailTogether(GroupEnded(worker, status) ? 1 : 2, status, worker, **channel);
  }
  if (const absl::Status status = Run(port, worker); !status.ok()) {
    return FailTogether(1, status, worker, **channel);
  }
  return 0;
}

}  // namespace
}  // namespace shardline

int main(int argc, char** argv) {
  const int code = shardline::Main(argc, argv);
  // Libraries take long to come down on a busy machine, and the gateway waits for the exit code.
  std::fflush(nullptr);
  _exit(code);
}
