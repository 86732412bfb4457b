// Mamba's mixer: a gated selective state space, which keeps of all tokens before one state of fixed
// size. Source: https://arxiv.org/abs/2312.00752
#pragma once

#include <optional>
#include <vector>

#include "worker/layers/layer.h"
#include "worker/layers/linear.h"

namespace shardline {

struct Mamba {
  int64_t inner = 0;  // channels
  int64_t state = 0;  // numbers that each channel keeps
  int64_t taps = 0;   // of the convolution
  int64_t dt_rank = 0;
  bool bias = false;  // of the first and the last product
  bool conv_bias = true;
  std::optional<float> part_norm;  // eps of norms without weights of dt, B and C, if there are any
  VectorForm a_form = VectorForm::kNegExp;  // how the file has A
};

class MambaLayer final : public Layer {
 public:
  MambaLayer(const Mamba& spec, int64_t hidden);

  void Declare(const std::string& prefix, WeightPlan& plan) override;
  std::optional<StateGroup> state(DType type) const override;
  void PlaceState(StatePlace place) override { place_ = place; }
  void Plan(Workspace& workspace, DType type, int64_t tokens) const override {
    Take(workspace, type, tokens);
  }
  absl::Status Forward(const StepContext& step, Workspace workspace, const View& x,
                       const View& y) override;

 private:
  enum Part { kConvState, kScanState };
  struct Buffers {
    View both;       // [tokens, 2 * inner]: the channels' inputs, later their steps; their gates
    View channels;   // [tokens, inner]
    View selective;  // [tokens, dt_rank + 2 * state]: dt, B, C
  };
  Buffers Take(Workspace& workspace, DType type, int64_t tokens) const;

  Mamba spec_;
  int64_t hidden_;
  int64_t inner_;  // channels of this rank
  StatePlace place_;
  Linear in_, select_, dt_, out_;
  View conv_, conv_bias_;    // [inner * taps], [inner] f32
  View a_, d_, dt_bias_;     // [inner * state], [inner], [inner] f32
  std::vector<float> ones_;  // the weights of part norms
};

}  // namespace shardline
