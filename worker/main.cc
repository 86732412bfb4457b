// shardline-worker: started by the gateway with one end of a channel; loads the model, says Ready
// and runs the step loop until it is told to stop or the gateway is gone.
//
//   flags → attach, watch the gateway → Configure → load (Progress) → Ready → Engine::Run
//
// With --print-spec it tells what the model is made of and ends, with --print-families what models
// there are; no gateway is needed for that.
//
// Exit codes: 0 clean, 1 failed while running, 2 bad flags or model; the reason is one line on
// standard error.
#include <absl/flags/flag.h>
#include <absl/flags/usage.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <string>

#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"
#include "shared/base/clock.h"
#include "shared/base/flags.h"
#include "shared/base/process.h"
#include "shared/base/quoted.h"
#include "shared/base/trace.h"
#include "shared/format/mapped_file.h"
#include "shared/ipc/channel.h"
#include "worker/cores.h"
#include "worker/engine/channel_port.h"
#include "worker/engine/engine.h"
#include "worker/engine/kv_plan.h"
#include "worker/models/describe.h"
#include "worker/models/model.h"
#include "worker/models/registry.h"
#include "worker/parallel/process_group.h"
#include "worker/state/memory.h"
#include "worker/state/state.h"

ABSL_FLAG(std::string, model, "", "a .gguf file, or a directory with config.json and safetensors");
ABSL_FLAG(std::string, dtype, "auto",
          "arithmetic, activations and KV cache: auto, f32, bf16 or f16");
ABSL_FLAG(std::string, device, "cpu", "cpu");
ABSL_FLAG(std::string, ops, "cpu", "operations: cpu, or reference (libtorch, for comparison)");
ABSL_FLAG(int, channel_fd, -1, "the channel's descriptor, from the gateway");
ABSL_FLAG(uint64_t, epoch, 0, "the channel's epoch");
ABSL_FLAG(int, parent_pid, 0, "the gateway's process id; 0: whoever started this program");
ABSL_FLAG(int, threads, 0, "threads for arithmetic; 0: one for each usable core");
ABSL_FLAG(int, max_sequences, 256, "sequences that run at once");
ABSL_FLAG(int64_t, max_batch_tokens, 2048, "tokens of one step");
ABSL_FLAG(int64_t, max_context, 0, "longest prompt + output; 0: what the model states");
ABSL_FLAG(uint64_t, kv_cache_bytes, 0,
          "memory for the KV cache; 0: the smaller of a quarter of free memory and what is usable");
ABSL_FLAG(bool, no_kv_cache, false, "compute the whole sequence again for every token");

ABSL_FLAG(bool, print_spec, false,
          "print the model's blocks, weights, axes and state groups, and end");
ABSL_FLAG(bool, print_families, false, "print the table of model families, and end");
ABSL_FLAG(std::string, trace_file, "", "the gateway's trace, to append to; empty: none");

namespace shardline {
namespace {

using std::chrono::seconds;

absl::Status CheckFlags(const std::vector<std::string>& positional) {
  const auto in_range = [](const char* name, int64_t value, int64_t low, int64_t high) {
    if (value >= low && value <= high) return absl::OkStatus();
    return InvalidArgument(name, " ", value, " is not in ", low, "..", high);
  };
  const std::string dtype = absl::GetFlag(FLAGS_dtype), device = absl::GetFlag(FLAGS_device),
                    ops = absl::GetFlag(FLAGS_ops);
  if (!positional.empty()) return InvalidArgument("'", positional[0], "' is no flag");
  if (!absl::GetFlag(FLAGS_print_spec) &&
      (absl::GetFlag(FLAGS_channel_fd) < 0 || absl::GetFlag(FLAGS_epoch) == 0)) {
    return InvalidArgument(
        "--channel-fd and --epoch are missing: this program is started by shardline-gateway");
  }
  if (absl::GetFlag(FLAGS_model).empty()) return InvalidArgument("--model is missing");
  if (device != "cpu") return InvalidArgument("--device ", device, ": only cpu is served");
  if (dtype != "auto" && dtype != "f32" && dtype != "bf16" && dtype != "f16") {
    return InvalidArgument("--dtype ", dtype, ": auto, f32, bf16 or f16");
  }
  if (ops != "cpu" && ops != "reference")
    return InvalidArgument("--ops ", ops, ": cpu or reference");
  SL_RETURN_IF_ERROR(in_range("--threads", absl::GetFlag(FLAGS_threads), 0, 4096));
  SL_RETURN_IF_ERROR(in_range("--max-sequences", absl::GetFlag(FLAGS_max_sequences), 1, 65536));
  SL_RETURN_IF_ERROR(
      in_range("--max-batch-tokens", absl::GetFlag(FLAGS_max_batch_tokens), 1, int64_t{1} << 20));
  return in_range("--max-context", absl::GetFlag(FLAGS_max_context), 0, int64_t{1} << 24);
}

// The gateway decides when this process ends: signals from a terminal or a service manager go to
// it, and its own end is ours too.
absl::StatusOr<std::unique_ptr<Channel>> AttachToGateway() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) signal(number, SIG_IGN);
  const int parent = absl::GetFlag(FLAGS_parent_pid);
  SL_RETURN_IF_ERROR(DieWithParent(parent > 0 ? parent : getppid()));
  SL_ASSIGN_OR_RETURN(auto channel,
                      Channel::Attach(absl::GetFlag(FLAGS_channel_fd), absl::GetFlag(FLAGS_epoch)));
  channel->OnPeerGone([](const absl::Status&) { _exit(0); });  // nobody is left to tell
  return channel;
}

absl::StatusOr<Configure> ReceiveConfigure(Channel& channel) {
  SL_ASSIGN_OR_RETURN(const auto record, channel.Receive(seconds(60)));
  if (!record.has_value()) return DeadlineExceeded("the gateway sent no Configure for 60 s");
  return record->As<Configure>();
}

// Sends each phase, and each hundredth within it.
class ProgressSender {
 public:
  explicit ProgressSender(Channel& channel) : channel_(channel) {}
  void operator()(std::string_view phase, double fraction) {
    if (phase == last_.phase && fraction < last_.fraction + 0.01 && fraction < 1) return;
    last_ = {fraction, std::string(phase)};
    // A gateway that does not read its progress loses it.
    (void)channel_.Send(last_, seconds(1));
  }

 private:
  Channel& channel_;
  Progress last_{-1, ""};
};

// All that a step needs, in the order of construction.
struct Worker {
  std::unique_ptr<Trace> trace;  // null: none
  std::unique_ptr<ThreadPool> threads;
  std::unique_ptr<ProcessGroup> group;
  std::unique_ptr<Model> model;
  std::unique_ptr<StateStorage> state;
  std::unique_ptr<Engine> engine;
};

absl::Status LoadModel(Channel& channel, Port& port, const Ops& ops, Worker& worker) {
  const int threads = absl::GetFlag(FLAGS_threads);
  worker.threads = std::make_unique<ThreadPool>(threads > 0 ? threads : UsableCores());
  worker.group = SingleProcess();
  ModelOptions options;
  options.path = absl::GetFlag(FLAGS_model);
  options.dtype = absl::GetFlag(FLAGS_dtype);
  options.ops = &ops;
  options.threads = worker.threads.get();
  options.thread_count = worker.threads->size();
  options.group = worker.group.get();
  options.max_batch_tokens = absl::GetFlag(FLAGS_max_batch_tokens);
  options.max_context = absl::GetFlag(FLAGS_max_context);
  options.at_work = [&port] { port.AtWork(); };
  SL_ASSIGN_OR_RETURN(worker.model, Model::Load(options, ProgressSender(channel)));
  return absl::OkStatus();
}

absl::Status MakeEngine(const Configure& configure, Port& port, Worker& worker, Ready& ready) {
  const ModelInfo& info = worker.model->info();
  const int max_sequences = absl::GetFlag(FLAGS_max_sequences);
  const KvLimits limits{max_sequences, info.context_tokens, absl::GetFlag(FLAGS_max_batch_tokens)};
  SL_ASSIGN_OR_RETURN(const KvPlan kv,
                      PlanKv(worker.model->state_groups(), limits,
                             absl::GetFlag(FLAGS_kv_cache_bytes), AvailableMemoryBytes()));
  SL_ASSIGN_OR_RETURN(worker.state,
                      StateStorage::Create(worker.model->state_groups(), kv.blocks_per_group,
                                           max_sequences, kv.context_tokens));
  EngineOptions options;
  options.epoch = absl::GetFlag(FLAGS_epoch);
  options.limits = {max_sequences, absl::GetFlag(FLAGS_max_batch_tokens)};
  options.context_tokens = kv.context_tokens;
  options.eos_ids = configure.eos_ids;
  options.kv_cache = !absl::GetFlag(FLAGS_no_kv_cache);
  options.threads = worker.threads.get();
  options.trace = worker.trace.get();
  worker.engine =
      std::make_unique<Engine>(options, kv.blocks_per_group, *worker.model, *worker.state, port);
  ready.header.context_tokens = static_cast<uint32_t>(kv.context_tokens);
  ready.header.kv_blocks_total = worker.engine->scheduler().blocks().total();
  ready.header.kv_bytes = kv.bytes;
  ready.header.block_tokens = static_cast<uint32_t>(kv.block_tokens);
  return absl::OkStatus();
}

void Describe(const ModelInfo& info, const Ops& ops, Ready& ready) {
  ready.header.epoch = absl::GetFlag(FLAGS_epoch);
  ready.header.vocabulary_size = static_cast<uint32_t>(info.vocabulary_size);
  ready.header.max_sequences = static_cast<uint32_t>(absl::GetFlag(FLAGS_max_sequences));
  ready.header.max_batch_tokens = static_cast<uint32_t>(absl::GetFlag(FLAGS_max_batch_tokens));
  ready.header.batch_invariant = info.batch_invariant ? 1 : 0;
  ready.header.weight_bytes = info.weight_bytes;
  ready.family = info.family;
  ready.dtype = NameOf(info.dtype);
  ready.arithmetic = info.arithmetic;
  ready.quantisation = info.quantisation;
  ready.instruction_set = ops.instruction_set;
  ready.capabilities = info.capabilities;
}

const Ops& ChosenOps() {
  return absl::GetFlag(FLAGS_ops) == "reference" ? ReferenceOps() : CpuOps();
}

// What a model's file can make a library throw becomes an error that names the file.
absl::Status WithoutExceptions(const std::function<absl::Status()>& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("--model ", absl::GetFlag(FLAGS_model), ": not enough memory");
  } catch (const std::exception& e) {
    return Internal("--model ", absl::GetFlag(FLAGS_model), ": ", e.what());
  }
}

// Everything up to Ready. Errors here are exit code 2.
absl::Status SetUp(Channel& channel, Port& port, Worker& worker) {
  const Clock::time_point start = Clock::now();
  SL_ASSIGN_OR_RETURN(const Configure configure, ReceiveConfigure(channel));
  if (const std::string path = absl::GetFlag(FLAGS_trace_file); !path.empty()) {
    SL_ASSIGN_OR_RETURN(worker.trace, Trace::Join(path, "shardline-worker"));
  }
  const Ops& ops = ChosenOps();
  Ready ready;
  SL_RETURN_IF_ERROR(WithoutExceptions([&]() -> absl::Status {
    SL_RETURN_IF_ERROR(LoadModel(channel, port, ops, worker));
    return MakeEngine(configure, port, worker, ready);
  }));
  Describe(worker.model->info(), ops, ready);
  ready.header.load_seconds = SecondsSince(start);
  return channel.Send(ready, seconds(30));
}

int Fail(int code, const absl::Status& status) {
  std::fprintf(stderr, "shardline-worker: %s\n", OneLine(Message(status)).c_str());
  return code;
}

int Print(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    return Fail(1, Unavailable("standard output cannot be written"));
  }
  return 0;
}

int PrintSpec() {
  std::string text;
  const absl::Status status = WithoutExceptions([&]() -> absl::Status {
    SL_ASSIGN_OR_RETURN(text, DescribeModel({.path = absl::GetFlag(FLAGS_model),
                                             .dtype = absl::GetFlag(FLAGS_dtype),
                                             .ops = &ChosenOps(),
                                             .max_context = absl::GetFlag(FLAGS_max_context)}));
    return absl::OkStatus();
  });
  return status.ok() ? Print(text) : Fail(2, status);
}

int Main(int argc, char** argv) {
  absl::SetProgramUsageMessage("runs a model for shardline-gateway, which starts this program");
  const std::vector<std::string> positional = ParseFlags(argc, argv);
  if (absl::GetFlag(FLAGS_print_families) && positional.empty()) return Print(FamiliesTable());
  if (const absl::Status status = CheckFlags(positional); !status.ok()) return Fail(2, status);
  if (absl::GetFlag(FLAGS_print_spec)) return PrintSpec();
  auto channel = AttachToGateway();
  if (!channel.ok()) return Fail(2, channel.status());
  ChannelPort port(**channel);
  ExitWhenMappedFilesShrink("shardline-worker");
  Worker worker;
  if (const absl::Status status = SetUp(**channel, port, worker); !status.ok()) {
    return Fail(2, status);
  }
  if (const absl::Status status = worker.engine->Run(); !status.ok()) return Fail(1, status);
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
