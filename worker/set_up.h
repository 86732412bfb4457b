// What one rank sets up between the gateway's Configure and its own Ready.
#pragma once

#include <functional>
#include <memory>

#include "kernels/cpu/thread_pool.h"
#include "shared/base/trace.h"
#include "shared/ipc/channel.h"
#include "worker/engine/engine.h"
#include "worker/models/model.h"
#include "worker/parallel/plan_broadcast.h"
#include "worker/parallel/process_group.h"
#include "worker/settings.h"
#include "worker/state/state.h"

namespace shardline {

// All that a step needs, in the order of construction.
struct Worker {
  WorkerSettings settings;
  std::unique_ptr<Trace> trace;  // null: none
  std::unique_ptr<ThreadPool> threads;
  std::unique_ptr<ProcessGroup> group;
  std::unique_ptr<PlanBroadcast> plans;  // null: there is one rank
  std::unique_ptr<Model> model;
  std::unique_ptr<StateStorage> state;
  std::unique_ptr<Engine> engine;  // null: a follower

  bool leads() const { return settings.rank == 0; }
};

// Waits for Configure, joins the group, loads this rank's part of the model, makes its state and,
// on rank 0, the engine; the first rank of a node then sends Ready. Errors: this rank's or the
// first of another's: InvalidArgument and the like for flags or model, Unavailable where a rank has
// gone.
absl::Status SetUp(Channel& channel, Port& port, Worker& worker);

// What the flags say of the model; threads and the group are not there yet.
ModelOptions OptionsOf(const WorkerSettings& settings);

// What a model's file can make a library throw becomes an error that names the file.
absl::Status WithoutExceptions(const WorkerSettings& settings,
                               const std::function<absl::Status()>& f);

}  // namespace shardline
