// A mixture of experts: a router picks some of many gated MLPs for every token, and their results
// are summed by the router's weights; a shared MLP may run for all tokens beside them. Tokens are
// sorted by expert once; a token's own experts are summed in ascending order, so its bits do not
// depend on its neighbours. Of several ranks each has a part of every expert, or some experts as a
// whole (WeightPlan::whole_experts); either way their results' sum is the layer's.
// Sources: https://arxiv.org/abs/2101.03961, https://arxiv.org/abs/2401.06066
#pragma once

#include <optional>
#include <vector>

#include "worker/layers/layer.h"
#include "worker/layers/linear.h"
#include "worker/layers/mlp.h"

namespace shardline {

struct Router {
  Routing routing;           // but for its types, which follow from these:
  bool in_f32 = false;       // matrix and product; otherwise the product has the model's type
  bool weights_f32 = false;  // of the chosen experts; otherwise they are rounded to it
  bool choice_bias = false;  // added to what experts are chosen by
};

struct Moe {
  int64_t experts = 0;
  int64_t active = 0;  // of a token
  int64_t inner = 0;   // of each expert
  Router router = {};
  Activation activation = Activation::kSilu;
  std::optional<Mlp> shared = {};
  bool shared_gate = false;  // the shared MLP's result is multiplied by a sigmoid of its own
};

class MoeLayer final : public Layer {
 public:
  MoeLayer(const Moe& spec, int64_t hidden);

  void Declare(const std::string& prefix, WeightPlan& plan) override;
  void Plan(Workspace& workspace, DType type, int64_t tokens) const override {
    Take(workspace, type, tokens);
    if (shared_) shared_->Plan(workspace, type, tokens);
  }
  absl::Status Forward(const StepContext& step, Workspace workspace, const View& x,
                       const View& y) override;

 private:
  struct Expert {
    Linear gate_up, down;
  };
  struct Buffers {
    View scores;         // [tokens, experts] f32
    View ids, weights;   // [tokens, active] u32, f32
    View ends;           // [experts] u32: where the choices of each end among all, sorted by expert
    View rows, factors;  // [tokens * active] u32, f32: token and weight of the sorted choices
    View in, out, sum;   // [tokens, hidden]
    View gate_up;        // [tokens, 2 * inner]
    View product;        // [tokens, inner]
  };
  Buffers Take(Workspace& workspace, DType type, int64_t tokens) const;
  void Route(const StepContext& step, const View& x, const Buffers& buffers) const;
  void SortByExpert(const Buffers& buffers) const;
  void RunExpert(const StepContext& step, const Expert& expert, const View& x, int64_t first,
                 int64_t count, const Buffers& buffers) const;
  absl::Status AddShared(const StepContext& step, Workspace workspace, const View& x,
                         const Buffers& buffers);

  Moe spec_;
  int64_t hidden_;
  int64_t inner_ = 0;  // of an expert, on this rank
  AxisRange own_;      // experts of this rank; of others nothing is loaded
  Linear router_;
  View choice_bias_;  // [experts] f32
  std::vector<Expert> experts_;
  std::optional<MlpLayer> shared_;
  Linear shared_gate_;
};

}  // namespace shardline
