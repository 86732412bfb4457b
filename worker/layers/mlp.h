// Feed-forward: down(act(gate(x)) * up(x)), or down(act(up(x))) without a gate. Source:
// https://arxiv.org/abs/2002.05202
#pragma once

#include "worker/layers/layer.h"
#include "worker/layers/linear.h"

namespace shardline {

struct Mlp {
  int64_t inner = 0;
  Activation activation = Activation::kSilu;
  bool bias = false;  // of all products
  bool gated = true;
};

// Its cuts fall on the borders of quantised blocks where there are enough for all ranks.
Axis FfnAxis(int64_t inner, Split split);

class MlpLayer final : public Layer {
 public:
  MlpLayer(const Mlp& spec, int64_t hidden) : spec_(spec), hidden_(hidden) {}

  void Declare(const std::string& prefix, WeightPlan& plan) override;
  void Plan(Workspace& workspace, DType type, int64_t tokens) const override {
    Take(workspace, type, tokens);
  }
  absl::Status Forward(const StepContext& step, Workspace workspace, const View& x,
                       const View& y) override;

 private:
  struct Buffers {
    View gate_up;  // [tokens, 2 * inner]; [tokens, inner] without a gate
    View product;  // [tokens, inner]; gate_up itself without a gate
  };
  Buffers Take(Workspace& workspace, DType type, int64_t tokens) const;

  Mlp spec_;
  int64_t hidden_;
  int64_t inner_ = 0;  // on this rank
  Linear gate_up_, down_;
};

}  // namespace shardline
