// A mixture of experts: a router picks some of many gated MLPs for every token, and their results
// are summed by the router's weights. Tokens are grouped by expert; a token's own experts are
// summed in ascending order, so its bits do not depend on its neighbours. Source:
// https://arxiv.org/abs/2101.03961
#pragma once

#include <vector>

#include "worker/layers/layer.h"
#include "worker/layers/linear.h"

namespace shardline {

struct Moe {
  int64_t experts = 0;
  int64_t active = 0;        // of a token
  int64_t inner = 0;         // of each expert
  bool renormalise = false;  // the chosen experts' weights sum to one
  Activation activation = Activation::kSilu;
};

class MoeLayer final : public Layer {
 public:
  MoeLayer(const Moe& spec, int64_t hidden)
      : spec_(spec), hidden_(hidden), experts_(spec.experts) {}

  void Declare(const std::string& prefix, WeightPlan& plan) override;
  void Plan(Workspace& workspace, DType type, int64_t tokens) const override {
    Take(workspace, type, tokens);
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
    View rows, factors;  // of one expert's tokens: [tokens] u32, f32
    View in, out, sum;   // [tokens, hidden]
    View gate_up;        // [tokens, 2 * inner]
    View product;        // [tokens, inner]
  };
  Buffers Take(Workspace& workspace, DType type, int64_t tokens) const;
  int64_t GatherRows(const Buffers& buffers, uint32_t expert, const View& x) const;

  Moe spec_;
  int64_t hidden_;
  int64_t inner_ = 0;  // on this rank
  Linear router_;
  std::vector<Expert> experts_;
};

}  // namespace shardline
