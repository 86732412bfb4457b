// A gateway as one of several nodes: what it starts of a group of ranks whose hosts each have a
// gateway, and the life of one that is not node 0.
#pragma once

#include "gateway/life.h"
#include "gateway/settings.h"
#include "gateway/supervisor.h"

namespace shardline {

// What the settings say of a replica's workers. `rendezvous_fd`: listens at --rendezvous, on node 0
// and for as long as its gateway lives; -1: there is none.
Supervisor::Options WorkerOptions(const Settings& settings, int rendezvous_fd);

// Keeps this node's ranks running, with no server, until a signal; the exit code. They wait for
// node 0 to start, and to come back when it has gone. `settings` outlive it.
int HelpNodeZero(const Settings& settings, Life& life);

}  // namespace shardline
