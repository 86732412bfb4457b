// The loop of a rank that decides nothing: it replays rank 0's step plans on its own part of the
// model and of the sequences' state, and takes part in everything that the ranks compute together.
#pragma once

#include <functional>
#include <vector>

#include "shared/base/status.h"
#include "shared/base/trace.h"
#include "worker/models/model.h"
#include "worker/parallel/plan_broadcast.h"
#include "worker/state/state.h"

namespace shardline {

class Follower {
 public:
  // All outlive it; `trace` may be null. `heard` is called when rank 0 has said something, if only
  // that there is nothing to do.
  Follower(PlanBroadcast& plans, Model& model, StateStorage& state, Trace* trace,
           std::function<void()> heard = nullptr);

  // Until rank 0 says stop (OK), or the group ends. An error of this rank alone ends the group.
  absl::Status Run();

 private:
  absl::Status Step();
  absl::Status Compute();

  PlanBroadcast& plans_;
  Model& model_;
  StateStorage& state_;
  Trace* const trace_;
  const std::function<void()> heard_;
  StepPlan plan_;
  std::vector<float> logits_;  // [kLogitRows, vocabulary]: rank 0 samples, here nobody reads them
};

}  // namespace shardline
