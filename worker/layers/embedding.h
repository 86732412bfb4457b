// Token embedding and the head that turns hidden states into logits. A tied head is the embedding's
// own matrix: one packed copy serves both.
#pragma once

#include "worker/layers/layer.h"

namespace shardline {

class EmbeddingAndHead {
 public:
  // `scale`: of embeddings, a value of the model's type.
  EmbeddingAndHead(int64_t vocabulary, int64_t hidden, bool tied, float scale)
      : vocabulary_(vocabulary), hidden_(hidden), tied_(tied), scale_(scale) {}

  void Declare(WeightPlan& plan) {
    const Axis vocab{"vocab", vocabulary_, 1}, hidden{"hidden", hidden_, 0};
    plan.Matrix(&table_, {{"embed.weight", {vocab, hidden}}});
    if (!tied_) plan.Matrix(&head_, {{"head.weight", {vocab, hidden}}});
  }
  // ids: [tokens] u32 below the vocabulary's size; y: [tokens, hidden]
  void Embed(const StepContext& step, const View& ids, const View& y) const {
    step.ops->embed(step.op, ids, table_, scale_, y);
  }
  // x: [rows, hidden]; logits: [rows, vocabulary] f32
  void Logits(const StepContext& step, const View& x, const View& logits) const {
    step.ops->matmul(step.op, x, tied_ ? table_ : head_, nullptr, logits);
  }

 private:
  int64_t vocabulary_, hidden_;
  bool tied_;
  float scale_;
  Packed table_, head_;
};

}  // namespace shardline
