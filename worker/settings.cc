#include "worker/settings.h"

#include <absl/flags/flag.h>
#include <absl/flags/usage.h>

#include <vector>

#include "shared/base/flags.h"
#include "shared/ipc/group_segment.h"

ABSL_FLAG(std::string, model, "", "a .gguf file, or a directory with config.json and safetensors");
ABSL_FLAG(std::string, dtype, "auto",
          "arithmetic, activations and KV cache: auto, f32, bf16 or f16");
ABSL_FLAG(std::string, device, "cpu", "cpu");
ABSL_FLAG(std::string, ops, "cpu", "operations: cpu, or reference (libtorch, for comparison)");
ABSL_FLAG(int, channel_fd, -1, "the channel's descriptor, from the gateway");
ABSL_FLAG(uint64_t, epoch, 0, "the channel's epoch");
ABSL_FLAG(int, rank, 0, "this rank of the replica; rank 0 talks to the gateway's clients");
ABSL_FLAG(int, ranks, 1, "ranks of the replica, each a process with its own part of the model");
ABSL_FLAG(bool, expert_parallel, false,
          "deal whole experts out to the ranks, instead of cutting each");
ABSL_FLAG(int, group_fd, -1, "the group segment's descriptor, from the gateway; needed for ranks");
ABSL_FLAG(int, nodes, 1, "hosts that the ranks run on");
ABSL_FLAG(int, node_rank, 0, "which of them this is");
ABSL_FLAG(std::string, rendezvous, "",
          "HOST:PORT where the ranks meet over TCP; empty: they meet in --group-fd");
ABSL_FLAG(int, rendezvous_fd, -1, "rank 0's socket that listens there, from the gateway");
ABSL_FLAG(double, rank_limit_seconds, 30, "how long a rank waits for another one");
ABSL_FLAG(int, parent_pid, 0, "the gateway's process id; 0: whoever started this program");
ABSL_FLAG(int, threads, 0, "threads for arithmetic; 0: one for each usable core");
ABSL_FLAG(int, max_sequences, 256, "sequences that run at once");
ABSL_FLAG(int64_t, max_batch_tokens, 2048, "tokens of one step");
ABSL_FLAG(int64_t, max_context, 0, "longest prompt + output; 0: what the model states");
ABSL_FLAG(uint64_t, kv_cache_bytes, 0,
          "memory for the KV cache; 0: the smaller of a quarter of free memory and what is usable");
ABSL_FLAG(int, memory_sharers, 1, "replicas that share this machine's free memory");
ABSL_FLAG(bool, no_kv_cache, false, "compute the whole sequence again for every token");

ABSL_FLAG(bool, print_spec, false,
          "print the model's blocks, weights, axes and state groups, and end");
ABSL_FLAG(bool, print_families, false, "print the table of model families, and end");
ABSL_FLAG(std::string, trace_file, "", "the gateway's trace, to append to; empty: none");

namespace shardline {
namespace {

absl::Status InRange(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return InvalidArgument(name, " ", value, " is not in ", low, "..", high);
}

absl::Status CheckPlace(const WorkerSettings& settings) {
  if (settings.print_spec) return absl::OkStatus();
  if (settings.channel_fd < 0 || settings.epoch == 0) {
    return InvalidArgument(
        "--channel-fd and --epoch are missing: this program is started by shardline-gateway");
  }
  SL_RETURN_IF_ERROR(InRange("--ranks", settings.ranks, 1, kMaxRanks));
  SL_RETURN_IF_ERROR(InRange("--rank", settings.rank, 0, settings.ranks - 1));
  SL_RETURN_IF_ERROR(InRange("--nodes", settings.nodes, 1, settings.ranks));
  SL_RETURN_IF_ERROR(InRange("--node-rank", settings.node_rank, 0, settings.nodes - 1));
  if (settings.ranks > 1 && settings.group_fd < 0 && !settings.over_tcp()) {
    return InvalidArgument("--group-fd is missing: ", settings.ranks, " --ranks meet there");
  }
  if (settings.over_tcp() && settings.rank == 0 && settings.rendezvous_fd < 0) {
    return InvalidArgument("--rendezvous-fd is missing: rank 0 listens there");
  }
  if (settings.rank_limit <= std::chrono::nanoseconds(0)) {
    return InvalidArgument("--rank-limit-seconds is not above 0");
  }
  return absl::OkStatus();
}

absl::Status Check(const WorkerSettings& settings) {
  if (settings.print_families) return absl::OkStatus();
  SL_RETURN_IF_ERROR(CheckPlace(settings));
  if (settings.model.empty()) return InvalidArgument("--model is missing");
  if (settings.device != "cpu") {
    return InvalidArgument("--device ", settings.device, ": only cpu is served");
  }
  const std::string& dtype = settings.dtype;
  if (dtype != "auto" && dtype != "f32" && dtype != "bf16" && dtype != "f16") {
    return InvalidArgument("--dtype ", dtype, ": auto, f32, bf16 or f16");
  }
  if (settings.ops != "cpu" && settings.ops != "reference") {
    return InvalidArgument("--ops ", settings.ops, ": cpu or reference");
  }
  SL_RETURN_IF_ERROR(InRange("--threads", settings.threads, 0, 4096));
  SL_RETURN_IF_ERROR(InRange("--max-sequences", settings.max_sequences, 1, 65536));
  SL_RETURN_IF_ERROR(InRange("--max-batch-tokens", settings.max_batch_tokens, 1, int64_t{1} << 20));
  SL_RETURN_IF_ERROR(InRange("--memory-sharers", settings.memory_sharers, 1, 4096));
  return InRange("--max-context", settings.max_context, 0, int64_t{1} << 24);
}

}  // namespace

absl::StatusOr<WorkerSettings> WorkerSettingsFromCommandLine(int argc, char** argv) {
  absl::SetProgramUsageMessage("runs a model for shardline-gateway, which starts this program");
  const std::vector<std::string> positional = ParseFlags(argc, argv);
  if (!positional.empty()) return InvalidArgument("'", positional[0], "' is no flag");
  WorkerSettings settings;
  settings.model = absl::GetFlag(FLAGS_model);
  settings.dtype = absl::GetFlag(FLAGS_dtype);
  settings.device = absl::GetFlag(FLAGS_device);
  settings.ops = absl::GetFlag(FLAGS_ops);
  settings.trace_file = absl::GetFlag(FLAGS_trace_file);
  settings.channel_fd = absl::GetFlag(FLAGS_channel_fd);
  settings.group_fd = absl::GetFlag(FLAGS_group_fd);
  settings.rendezvous = absl::GetFlag(FLAGS_rendezvous);
  settings.rendezvous_fd = absl::GetFlag(FLAGS_rendezvous_fd);
  settings.nodes = absl::GetFlag(FLAGS_nodes);
  settings.node_rank = absl::GetFlag(FLAGS_node_rank);
  settings.epoch = absl::GetFlag(FLAGS_epoch);
  settings.rank = absl::GetFlag(FLAGS_rank);
  settings.ranks = absl::GetFlag(FLAGS_ranks);
  settings.expert_parallel = absl::GetFlag(FLAGS_expert_parallel);
  settings.parent_pid = absl::GetFlag(FLAGS_parent_pid);
  settings.memory_sharers = absl::GetFlag(FLAGS_memory_sharers);
  settings.threads = absl::GetFlag(FLAGS_threads);
  settings.max_sequences = absl::GetFlag(FLAGS_max_sequences);
  settings.max_batch_tokens = absl::GetFlag(FLAGS_max_batch_tokens);
  settings.max_context = absl::GetFlag(FLAGS_max_context);
  settings.kv_cache_bytes = absl::GetFlag(FLAGS_kv_cache_bytes);
  settings.no_kv_cache = absl::GetFlag(FLAGS_no_kv_cache);
  settings.print_spec = absl::GetFlag(FLAGS_print_spec);
  settings.print_families = absl::GetFlag(FLAGS_print_families);
  settings.rank_limit =
      std::chrono::nanoseconds(static_cast<int64_t>(absl::GetFlag(FLAGS_rank_limit_seconds) * 1e9));
  SL_RETURN_IF_ERROR(Check(settings));
  return settings;
}

}  // namespace shardline
