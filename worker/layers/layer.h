// A part of a block with weights of its own: attention, MLP. A layer declares its weights and its
// state, says what working memory it needs, and computes on views from the arena. It owns no
// activations and allocates nothing while it runs.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "kernels/view.h"
#include "shared/base/status.h"
#include "worker/layers/workspace.h"
#include "worker/parallel/process_group.h"
#include "worker/state/state.h"
#include "worker/weights/weight_plan.h"

namespace shardline {

// Where the step's tokens live in one state group.
struct GroupStep {
  View slots;                      // [tokens] i64: block * kBlockTokens + offset; recurrent: none
  std::vector<AttentionRow> rows;  // one per plan row
};

// One position's rotation for every token of the step, of one rope.
struct RopeStep {
  View cos;  // [tokens, rot_dim / 2] f32
  View sin;
};

// What is the same for all layers of one step.
struct StepContext {
  const Ops* ops = nullptr;
  OpContext op;
  ProcessGroup* group = nullptr;
  StateStorage* state = nullptr;
  int64_t tokens = 0;
  std::span<const GroupStep> groups;
  std::span<const RopeStep> ropes;
  bool partial = false;  // layers leave each rank's part of their result unsummed
};

// Where a layer's state is: set by the model when the groups are known.
struct StatePlace {
  int group = 0;
  int layer = 0;  // within the group
};

class Layer {
 public:
  virtual ~Layer() = default;

  // Adds the layer's slots, cut for the plan's rank; their names begin with `prefix`. Called before
  // all others.
  virtual void Declare(const std::string& prefix, WeightPlan& plan) = 0;
  // The group this layer's state belongs to, with layers = 1; nullopt for a layer without state.
  virtual std::optional<StateGroup> state(DType type) const { return std::nullopt; }
  virtual void PlaceState(StatePlace place) {}
  // Takes what Forward takes, from a workspace that measures.
  virtual void Plan(Workspace& workspace, DType type, int64_t tokens) const = 0;
  // x, y: [tokens, hidden], may be the same. y is the sum over ranks, unless the step is partial.
  virtual absl::Status Forward(const StepContext& step, Workspace workspace, const View& x,
                               const View& y) = 0;
};

}  // namespace shardline
