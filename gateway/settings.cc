#include "gateway/settings.h"

#include <absl/flags/flag.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <optional>

#include "gateway/model_text.h"
#include "shared/base/cores.h"
#include "shared/base/flags.h"
#include "shared/base/process.h"
#include "shared/base/quoted.h"
#include "shared/base/tcp_address.h"
#include "shared/ipc/group_segment.h"

ABSL_FLAG(std::string, model, "", "a .gguf file, or a directory with config.json and safetensors");
ABSL_FLAG(std::string, model_name, "", "name that clients use; default: the file's or directory's");
ABSL_FLAG(std::string, listen, "127.0.0.1:50051", "HOST:PORT for gRPC; port 0: a free one");
ABSL_FLAG(std::string, metrics_listen, "127.0.0.1:9090",
          "HOST:PORT for /metrics; port 0: a free one");
ABSL_FLAG(std::string, device, "cpu", "cpu (cuda is not served by this build)");
ABSL_FLAG(std::string, dtype, "auto",
          "auto, f32, bf16 or f16: arithmetic, activations and KV cache");
ABSL_FLAG(std::string, kv_cache_dtype, "auto", "auto: the arithmetic's (others are not served)");
ABSL_FLAG(uint32_t, tensor_parallel, 1, "worker processes that share a replica's weights and work");
ABSL_FLAG(uint32_t, nodes, 1, "hosts that the --tensor-parallel ranks run on, a gateway on each");
ABSL_FLAG(uint32_t, node_rank, 0,
          "which of the --nodes this is; node 0 serves, the others help it");
ABSL_FLAG(std::string, rendezvous, "",
          "HOST:PORT of node 0, where the ranks of several --nodes meet; anybody who reaches it is "
          "let in: private networks only");
ABSL_FLAG(bool, expert_parallel, false,
          "deal whole experts out to the --tensor-parallel workers, instead of cutting each");
ABSL_FLAG(uint32_t, replicas, 1, "replicas of the model, 1 to 64");
ABSL_FLAG(uint32_t, max_sequences, 256, "sequences that a replica runs at once");
ABSL_FLAG(uint32_t, max_batch_tokens, 2048, "tokens of one step of a replica");
ABSL_FLAG(uint32_t, max_context, 0, "longest prompt + output; 0: the model's own");
ABSL_FLAG(uint32_t, max_queued_requests, 1024, "requests that may wait");
ABSL_FLAG(uint64_t, max_queued_tokens, 1048576, "prompt tokens that may wait");
ABSL_FLAG(
    uint64_t, kv_cache_bytes, 0,
    "KV cache of a replica; 0: the smaller of its share of a quarter of free memory and what is "
    "usable");
ABSL_FLAG(bool, no_kv_cache, false, "compute the whole sequence again for every token");
ABSL_FLAG(uint32_t, threads, 0,
          "compute threads of a worker; 0: the usable cores, shared by the workers");
ABSL_FLAG(std::string, trace_file, "",
          "writes a trace of requests and steps there, for Perfetto or chrome://tracing");
ABSL_FLAG(bool, allow_request_templates, false, "requests may bring a chat template");
ABSL_FLAG(double, stalled_reader_seconds, 30, "how long a full stream waits for its reader");
ABSL_FLAG(double, drain_seconds, 30, "how long SIGTERM lets live requests go on");
ABSL_FLAG(double, step_limit_seconds, 30,
          "a worker that gets no further with a step for so long is restarted");
ABSL_FLAG(double, load_limit_seconds, 300,
          "a worker that gets no further with loading for so long is restarted");
ABSL_FLAG(bool, vllm_metric_names, false,
          "also export the vllm:… gauges that inference gateways read");
ABSL_FLAG(std::string, worker_program, "",
          "the worker; default: shardline-worker beside this program");

namespace shardline {
namespace {

absl::Status NotServed(bool asked, std::string_view flag, std::string_view instead) {
  return asked ? InvalidArgument(flag, " is not served by this build: ", instead)
               : absl::OkStatus();
}

absl::Status CheckUnserved() {
  SL_RETURN_IF_ERROR(NotServed(absl::GetFlag(FLAGS_kv_cache_dtype) != "auto", "--kv-cache-dtype",
                               "the cache is kept in --dtype"));
  const std::string device = absl::GetFlag(FLAGS_device);
  if (device != "cpu" && device != "cuda")
    return InvalidArgument("--device ", device, ": cpu or cuda");
  SL_RETURN_IF_ERROR(NotServed(device == "cuda", "--device cuda", "only cpu is"));
  const std::string dtype = absl::GetFlag(FLAGS_dtype);
  if (dtype != "auto" && dtype != "f32" && dtype != "bf16" && dtype != "f16") {
    return InvalidArgument("--dtype ", dtype, ": auto, f32, bf16 or f16");
  }
  return absl::OkStatus();
}

absl::Status CheckAddress(std::string_view flag, const std::string& address) {
  const size_t colon = address.rfind(':');
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  const bool digits = !port.empty() && port.size() <= 5 &&
                      port.find_first_not_of("0123456789") == std::string::npos;
  if (colon == 0 || !digits || std::stoi(port) > 65535) {
    return InvalidArgument(flag, " ", address, ": must be HOST:PORT");
  }
  return absl::OkStatus();
}

absl::Status CheckSeconds(std::string_view flag, double seconds) {
  if (std::isfinite(seconds) && seconds > 0 && seconds <= 1e6) return absl::OkStatus();
  return InvalidArgument(flag, " ", seconds, ": must be more than 0 and at most 1000000");
}

absl::Status CheckPositive(std::string_view flag, uint64_t value, uint64_t max) {
  if (value >= 1 && value <= max) return absl::OkStatus();
  return InvalidArgument(flag, " ", value, ": must be from 1 to ", max);
}

absl::Status CheckNodes(const Settings& settings) {
  SL_RETURN_IF_ERROR(CheckPositive("--nodes", settings.nodes, kMaxRanks));
  if (settings.nodes > settings.tensor_parallel) {
    return InvalidArgument("--nodes ", settings.nodes, ": must be at most --tensor-parallel (",
                           settings.tensor_parallel, "), so that each has a rank");
  }
  if (settings.node_rank >= settings.nodes) {
    return InvalidArgument("--node-rank ", settings.node_rank, ": must be less than --nodes (",
                           settings.nodes, ")");
  }
  if (settings.rendezvous.empty()) {
    if (settings.nodes == 1) return absl::OkStatus();
    return InvalidArgument("--rendezvous is missing: HOST:PORT of node 0, where ", settings.nodes,
                           " --nodes meet");
  }
  SL_RETURN_IF_ERROR(ParseTcpAddress(settings.rendezvous, "--rendezvous").status());
  if (settings.tensor_parallel == 1) {
    return InvalidArgument("--rendezvous: --tensor-parallel is 1, so there is nobody to meet");
  }
  if (settings.replicas > 1) {
    return InvalidArgument("--replicas ", settings.replicas,
                           ": must be 1 with --nodes or --rendezvous");
  }
  return absl::OkStatus();
}

// The line that says `ready` ends with it.
absl::Status CheckName(const std::string& name) {
  if (OneLine(name) == name) return absl::OkStatus();
  return InvalidArgument("--model-name ", Quoted(name),
                         ": must be a line of at most 3000 bytes without control characters");
}

// What cannot be started at all is not tried again and again.
absl::Status CheckProgram(std::string_view flag, const std::string& program) {
  if (access(program.c_str(), X_OK) == 0) return absl::OkStatus();
  return InvalidArgument(flag, " ", program, ": cannot be started: ", std::strerror(errno));
}

absl::Status Check(const Settings& settings) {
  if (settings.model.empty()) {
    return InvalidArgument("--model is missing: a .gguf file or a directory with config.json");
  }
  SL_RETURN_IF_ERROR(CheckUnserved());
  SL_RETURN_IF_ERROR(CheckAddress("--listen", settings.listen));
  SL_RETURN_IF_ERROR(CheckAddress("--metrics-listen", settings.metrics_listen));
  SL_RETURN_IF_ERROR(CheckPositive("--replicas", settings.replicas, 64));
  SL_RETURN_IF_ERROR(CheckPositive("--tensor-parallel", settings.tensor_parallel, kMaxRanks));
  SL_RETURN_IF_ERROR(CheckNodes(settings));
  SL_RETURN_IF_ERROR(CheckPositive("--max-sequences", settings.max_sequences, 65536));
  SL_RETURN_IF_ERROR(CheckPositive("--max-batch-tokens", settings.max_batch_tokens, 1u << 20));
  SL_RETURN_IF_ERROR(
      CheckPositive("--max-queued-requests", settings.max_queued_requests, 1u << 24));
  SL_RETURN_IF_ERROR(CheckPositive("--max-queued-tokens", settings.max_queued_tokens, 1ull << 40));
  SL_RETURN_IF_ERROR(CheckSeconds("--stalled-reader-seconds", settings.stalled_reader_seconds));
  SL_RETURN_IF_ERROR(CheckSeconds("--drain-seconds", settings.drain_seconds));
  SL_RETURN_IF_ERROR(CheckSeconds("--step-limit-seconds", settings.step_limit_seconds));
  SL_RETURN_IF_ERROR(CheckSeconds("--load-limit-seconds", settings.load_limit_seconds));
  if (settings.max_context > 1u << 24) {
    return InvalidArgument("--max-context ", settings.max_context, ": must be at most ", 1u << 24);
  }
  if (settings.threads > 4096) {
    return InvalidArgument("--threads ", settings.threads, ": must be at most 4096");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Settings> SettingsFromCommandLine(int argc, char** argv) {
  const std::vector<std::string> positional =
      ParseFlags(argc, argv, "shardline-gateway " SHARDLINE_VERSION);
  if (!positional.empty()) {
    return InvalidArgument("unexpected argument '", positional[0], "': flags begin with --");
  }
  Settings settings;
  settings.model = absl::GetFlag(FLAGS_model);
  settings.model_name = absl::GetFlag(FLAGS_model_name);
  settings.listen = absl::GetFlag(FLAGS_listen);
  settings.metrics_listen = absl::GetFlag(FLAGS_metrics_listen);
  settings.worker_program = absl::GetFlag(FLAGS_worker_program);
  settings.device = absl::GetFlag(FLAGS_device);
  settings.trace_file = absl::GetFlag(FLAGS_trace_file);
  settings.dtype = absl::GetFlag(FLAGS_dtype);
  settings.tensor_parallel = absl::GetFlag(FLAGS_tensor_parallel);
  settings.nodes = absl::GetFlag(FLAGS_nodes);
  settings.node_rank = absl::GetFlag(FLAGS_node_rank);
  settings.rendezvous = absl::GetFlag(FLAGS_rendezvous);
  settings.expert_parallel = absl::GetFlag(FLAGS_expert_parallel);
  settings.max_sequences = absl::GetFlag(FLAGS_max_sequences);
  settings.max_batch_tokens = absl::GetFlag(FLAGS_max_batch_tokens);
  settings.max_context = absl::GetFlag(FLAGS_max_context);
  settings.threads = absl::GetFlag(FLAGS_threads);
  settings.replicas = absl::GetFlag(FLAGS_replicas);
  settings.max_queued_requests = absl::GetFlag(FLAGS_max_queued_requests);
  settings.max_queued_tokens = absl::GetFlag(FLAGS_max_queued_tokens);
  settings.kv_cache_bytes = absl::GetFlag(FLAGS_kv_cache_bytes);
  settings.no_kv_cache = absl::GetFlag(FLAGS_no_kv_cache);
  settings.allow_request_templates = absl::GetFlag(FLAGS_allow_request_templates);
  settings.vllm_metric_names = absl::GetFlag(FLAGS_vllm_metric_names);
  settings.stalled_reader_seconds = absl::GetFlag(FLAGS_stalled_reader_seconds);
  settings.drain_seconds = absl::GetFlag(FLAGS_drain_seconds);
  settings.step_limit_seconds = absl::GetFlag(FLAGS_step_limit_seconds);
  settings.load_limit_seconds = absl::GetFlag(FLAGS_load_limit_seconds);
  SL_RETURN_IF_ERROR(Check(settings));
  if (settings.model_name.empty()) settings.model_name = ModelNameOf(settings.model);
  SL_RETURN_IF_ERROR(CheckName(settings.model_name));
  if (settings.worker_program.empty())
    settings.worker_program = ProgramBesideThisOne("shardline-worker");
  SL_RETURN_IF_ERROR(CheckProgram("--worker-program", settings.worker_program));
  return settings;
}

std::vector<std::string> WorkerArguments(const Settings& settings, uint64_t epoch, int rank) {
  uint32_t threads = settings.threads;
  const uint32_t workers = settings.replicas * static_cast<uint32_t>(settings.local_ranks().count);
  if (threads == 0 && workers > 1) threads = std::max<uint32_t>(1, UsableCores() / workers);
  std::vector<std::string> arguments = {
      Cat("--model=", settings.model),
      Cat("--dtype=", settings.dtype),
      Cat("--device=", settings.device),
      "--channel-fd=3",
      Cat("--epoch=", epoch),
      Cat("--threads=", threads),
      Cat("--max-sequences=", settings.max_sequences),
      Cat("--max-batch-tokens=", settings.max_batch_tokens),
      Cat("--max-context=", settings.max_context),
      Cat("--kv-cache-bytes=", settings.kv_cache_bytes),
      Cat("--memory-sharers=", settings.replicas),
      Cat("--no-kv-cache=", settings.no_kv_cache),
      Cat("--expert-parallel=", settings.expert_parallel),
      Cat("--parent-pid=", getpid()),
  };
  if (settings.tensor_parallel > 1) {
    arguments.insert(arguments.end(),
                     {Cat("--rank=", rank), Cat("--ranks=", settings.tensor_parallel),
                      Cat("--rank-limit-seconds=", settings.step_limit_seconds)});
    if (settings.rendezvous.empty()) {
      arguments.push_back("--group-fd=4");
    } else {
      arguments.insert(arguments.end(),
                       {Cat("--rendezvous=", settings.rendezvous), Cat("--nodes=", settings.nodes),
                        Cat("--node-rank=", settings.node_rank)});
      if (rank == 0) arguments.push_back("--rendezvous-fd=4");
    }
  }
  if (!settings.trace_file.empty()) arguments.push_back(Cat("--trace-file=", settings.trace_file));
  return arguments;
}

}  // namespace shardline
