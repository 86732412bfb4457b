// What the command line asks for, checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shared/base/nodes.h"
#include "shared/base/status.h"

namespace shardline {

struct Settings {
  std::string model;       // path
  std::string model_name;  // never empty
  std::string listen, metrics_listen;
  std::string worker_program;
  std::string device, dtype;
  std::string trace_file;                      // empty: none
  uint32_t replicas = 1, tensor_parallel = 1;  // ranks of each replica
  uint32_t nodes = 1, node_rank = 0;           // hosts of the ranks; which of them this is
  std::string rendezvous;                      // where ranks meet over TCP; empty: in shared memory
  bool expert_parallel = false;
  uint32_t max_sequences = 0, max_batch_tokens = 0, max_context = 0, threads = 0;
  uint32_t max_queued_requests = 0;
  uint64_t max_queued_tokens = 0, kv_cache_bytes = 0;
  bool no_kv_cache = false, allow_request_templates = false, vllm_metric_names = false;
  double stalled_reader_seconds = 0, drain_seconds = 0;
  double step_limit_seconds = 0, load_limit_seconds = 0;

  RankRun local_ranks() const {  // of each replica
    return RanksOfNode(static_cast<int>(tensor_parallel), static_cast<int>(nodes),
                       static_cast<int>(node_rank));
  }
};

// Parses the command line (ends the program with 2 on an unknown or malformed flag) and checks it.
// Errors: InvalidArgument naming the flag.
absl::StatusOr<Settings> SettingsFromCommandLine(int argc, char** argv);

// The command line of a worker, without the program's name, for one epoch and rank.
std::vector<std::string> WorkerArguments(const Settings& settings, uint64_t epoch, int rank);

}  // namespace shardline
