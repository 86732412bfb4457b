// How the ranks of a replica come together: on one host in the gateway's shared-memory segment, on
// several at --rendezvous.
#pragma once

#include <functional>
#include <memory>

#include "worker/parallel/meeting.h"
#include "worker/parallel/process_group.h"
#include "worker/settings.h"

namespace shardline {

struct JoinedGroup {
  std::unique_ptr<ProcessGroup> group;
  uint64_t epoch = 0;  // of this start, the same on all ranks
};

// Waits for ranks on other nodes as long as it takes, calls `alive` about once a second meanwhile,
// and says on standard error for what. `terms`: what must be equal on all nodes. A wait of the
// group for another rank has a limit that fits its start; SetLimit comes after it.
// Errors: InvalidArgument (flags or model), else what another start may mend: Unavailable.
absl::StatusOr<JoinedGroup> JoinGroup(const WorkerSettings& settings, const Terms& terms,
                                      const std::function<void()>& alive);

}  // namespace shardline
