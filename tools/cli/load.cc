// shardline load: what a server has to do right now, as tables or as JSON, once or again and again.
#include <condition_variable>
#include <mutex>
#include <ostream>

#include "shardline/v1/control.grpc.pb.h"
#include "shared/base/quoted.h"
#include "tools/cli/client.h"
#include "tools/cli/commands.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/options.h"
#include "tools/cli/table.h"

namespace shardline::cli {
namespace {

struct Flags {
  std::string target;
  bool json = false;
  double watch_seconds = 0;  // 0: once
};

void WriteLoad(const v1::GetLoadResponse& load, std::ostream& out) {
  WriteTable(
      {{">QUEUED", ">QUEUED TOKENS", ">RUNNING"},
       {Cat(load.queued_requests()), Cat(load.queued_tokens()), Cat(load.running_requests())}},
      out);
  out << "\n";
  std::vector<Row> groups = {
      {">REPLICA", ">EPOCH", "READY", ">RUNNING", ">KV USED", ">KV BLOCKS", ">KV USE"}};
  for (const v1::GroupLoad& group : load.groups()) {
    const uint64_t total = group.kv_blocks_total();
    groups.push_back({Cat(group.replica()), Cat(group.worker_epoch()), group.ready() ? "yes" : "no",
                      Cat(group.running_sequences()), Cat(group.kv_blocks_used()), Cat(total),
                      total == 0
                          ? "-"
                          : Fixed("%.1f %%", 100.0 * static_cast<double>(group.kv_blocks_used()) /
                                                 static_cast<double>(total))});
  }
  WriteTable(std::move(groups), out);
}

// Asks once and shows it.
int Show(v1::Control::Stub& stub, const Flags& flags, Streams& streams) {
  grpc::ClientContext context;
  SetUnaryDeadline(context);
  v1::GetLoadResponse load;
  const grpc::Status status = stub.GetLoad(&context, {}, &load);
  if (!status.ok()) return Report("load", flags.target, status, streams);
  if (flags.json) {
    const absl::StatusOr<std::string> text = ToJson(load, /*all=*/true);
    if (!text.ok()) return Fail(streams, "load", Message(text.status()), kFailed);
    streams.out << *text << "\n";
  } else {
    WriteLoad(load, streams.out);
  }
  streams.out.flush();
  return kDone;
}

// Until Ctrl-C, or the server is gone.
int Watch(v1::Control::Stub& stub, const Flags& flags, Streams& streams) {
  std::mutex mutex;
  std::condition_variable changed;
  bool stop = false;
  Interrupt interrupt([&] {
    const std::lock_guard lock(mutex);
    stop = true;
    changed.notify_all();
  });
  for (;;) {
    const int code = Show(stub, flags, streams);
    if (code != kDone || !streams.out.good()) return code;
    std::unique_lock lock(mutex);
    if (changed.wait_for(lock, std::chrono::duration<double>(flags.watch_seconds),
                         [&] { return stop; })) {
      return kDone;
    }
    if (!flags.json) streams.out << "\n";
  }
}

}  // namespace

int Load(const Arguments& arguments, Streams& streams) {
  Flags flags;
  Options options(
      "load", "load [--json] [--watch SECONDS]",
      "Shows what waits and runs on a server, and the KV memory of every worker group.");
  AddTarget(options, flags.target);
  options.Switch("json", "the server's answer as a line of JSON",
                 [&](bool value) { flags.json = value; });
  options.Parsed("watch", "SECONDS", "shows it again and again, until Ctrl-C",
                 [&](const std::string& text) -> absl::Status {
                   SL_ASSIGN_OR_RETURN(flags.watch_seconds, ReadSeconds(text));
                   return absl::OkStatus();
                 });
  std::optional<int> end;
  const Arguments rest = options.Parse(arguments, streams, end);
  if (end) return *end;
  if (!rest.empty()) {
    return Fail(streams, "load", Cat("unexpected argument ", Quoted(rest[0])));
  }
  if (flags.watch_seconds == 0) {
    return Show(*v1::Control::NewStub(Connect(flags.target)), flags, streams);
  }
  const SignalsHeld held;  // before the channel starts threads
  return Watch(*v1::Control::NewStub(Connect(flags.target)), flags, streams);
}

}  // namespace shardline::cli
