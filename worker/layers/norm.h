// Norms of rows: by their root mean square, or LayerNorm, which does the same to the distances from
// the row's mean. Sources: https://arxiv.org/abs/1910.07467, https://arxiv.org/abs/1607.06450
#pragma once

#include <string>
#include <vector>

#include "worker/layers/layer.h"

namespace shardline {

struct NormSpec {
  Norm norm;
  VectorForm weight = VectorForm::kRounded;
  bool centred = false;    // LayerNorm; rounds once
  bool has_weight = true;  // only a LayerNorm may lack it
  bool has_bias = false;   // only a LayerNorm may have it

  bool operator==(const NormSpec&) const = default;
};

class NormLayer {
 public:
  // `size`: of the rows that are normed. `heads`: of a norm that has weights for each head, in
  // slots "NAME.0.weight" and so on; 0: one "NAME.weight" for all.
  NormLayer(const NormSpec& spec, int64_t size, int64_t heads = 0)
      : spec_(spec), size_(size), heads_(heads) {}

  // `here`: the heads of this rank, where heads have weights of their own; none: all.
  void Declare(const std::string& name, WeightPlan& plan,
               std::optional<AxisRange> here = std::nullopt) {
    if (spec_.has_weight) plan.Vector(&weight_, Slots(name, "weight", spec_.weight, here));
    if (spec_.has_bias) plan.Vector(&bias_, Slots(name, "bias", VectorForm::kRounded, here));
  }
  // x, y: [tokens, size] or [tokens, heads, size], may be the same.
  void Forward(const StepContext& step, const View& x, const View& y) const {
    if (spec_.centred) {
      step.ops->layer_norm(step.op, x, spec_.has_weight ? &weight_ : nullptr,
                           spec_.has_bias ? &bias_ : nullptr, spec_.norm.eps, y);
    } else {
      step.ops->rms_norm(step.op, x, weight_, spec_.norm, y);
    }
  }

 private:
  std::vector<WeightSlot> Slots(const std::string& name, const char* kind, VectorForm form,
                                std::optional<AxisRange> here) const {
    Axis axis{"norm", size_, 0};
    if (heads_ == 0) return {{.name = Cat(name, ".", kind), .axes = {axis}, .form = form}};
    std::vector<WeightSlot> slots;
    for (int64_t h = 0; h < heads_; ++h) {
      if (here && (h < here->begin || h >= here->end))
        axis.part = AxisRange{};
      else
        axis.part.reset();
      slots.push_back({.name = Cat(name, ".", h, ".", kind), .axes = {axis}, .form = form});
    }
    return slots;
  }

  NormSpec spec_;
  int64_t size_, heads_;
  View weight_, bias_;  // [size] or [heads * size] f32
};

}  // namespace shardline
