// Where the ranks of several nodes find each other before each start: the store that rank 0 holds
// at --rendezvous. It waits for as long as it takes, whichever node is there first.
//
//   rank 0:      opens the store, says its terms, waits until every other rank shows itself, then
//                says "go": the epoch of this start, and who takes part
//   the others:  look for the store, compare its terms with their own, show themselves again and
//                again until they are among those who go
//
// A rank is known by a number that it draws when it comes, so one that died and came again is
// another, and a start in which the older one was counted never has the newer one in it: that one
// waits for the next start. Two that show themselves as one rank, because two nodes were given one
// --node-rank, see each other's numbers in turn and say so.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "shared/base/status.h"
#include "worker/parallel/gloo_store.h"

namespace shardline {

// What must be equal on all nodes: flags, or what stands for them, and their values.
using Terms = std::vector<std::pair<std::string, std::string>>;

std::string Encode(const Terms& terms);
// "--dtype is f32 on node 0 and bf16 on node 1": the first difference; "": there is none.
// `encoded`: node 0's.
std::string DifferenceFrom(std::string_view encoded, const Terms& own, int node);

// "rank 1", "ranks 1-3, 5"
std::string RanksText(const std::vector<int>& ranks);

struct MeetingOptions {
  std::string host;
  int port = 0;
  int listen_fd = -1;  // rank 0: listens at host:port; taken over
  int rank = 0, size = 1, node = 0;
  uint64_t epoch = 0;  // rank 0: of this start
  Terms terms;
  bool speaks = true;  // of its node's ranks, the one that says when the terms differ
  // Called several times a second, from the calling thread, with what is waited for.
  std::function<void(const std::string& what)> waiting;
  // How long one question to the store may take, or a host name to be found.
  std::chrono::milliseconds patience = std::chrono::seconds(60);
};

struct Met {
  std::shared_ptr<GlooStore> store;
  uint64_t epoch = 0;
};

// Errors: InvalidArgument naming what differs between two nodes, on both of them; Unavailable: the
// store does not answer within the patience, or rank 0's fails.
absl::StatusOr<Met> Meet(const MeetingOptions& options);

}  // namespace shardline
