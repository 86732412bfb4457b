// What the gateway asks of a worker on its command line, checked.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "shared/base/nodes.h"
#include "shared/base/status.h"

namespace shardline {

struct WorkerSettings {
  std::string model;  // path
  std::string dtype, device, ops;
  std::string trace_file;  // empty: none
  int channel_fd = -1, group_fd = -1;
  uint64_t epoch = 0;
  int rank = 0, ranks = 1;
  int node_rank = 0, nodes = 1;
  std::string rendezvous;  // empty: all ranks meet in shared memory
  int rendezvous_fd = -1;  // rank 0's
  bool expert_parallel = false;
  std::chrono::nanoseconds rank_limit{0};
  int parent_pid = 0;
  int threads = 0, max_sequences = 0, memory_sharers = 1;
  int64_t max_batch_tokens = 0, max_context = 0;
  uint64_t kv_cache_bytes = 0;
  bool no_kv_cache = false, print_spec = false, print_families = false;

  bool over_tcp() const { return !rendezvous.empty(); }
  // Whether this rank talks for all of its node.
  bool speaks() const { return rank == RanksOfNode(ranks, nodes, node_rank).first; }
};

// Parses the command line (ends the program with 2 on an unknown or malformed flag) and checks it.
// Errors: InvalidArgument naming the flag.
absl::StatusOr<WorkerSettings> WorkerSettingsFromCommandLine(int argc, char** argv);

}  // namespace shardline
