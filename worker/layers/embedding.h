// Token embedding and the head that turns hidden states into logits. A tied head is the embedding's
// own matrix: one packed copy serves both.
#pragma once

#include "worker/layers/layer.h"

namespace shardline {

class EmbeddingAndHead {
 public:
  // `scale`: of embeddings. Logits are the head's products times `logit_scale`, softly capped where
  // `logit_cap` > 0.
  EmbeddingAndHead(int64_t vocabulary, int64_t hidden, bool tied, float scale, float logit_scale,
                   float logit_cap)
      : vocabulary_(vocabulary),
        hidden_(hidden),
        tied_(tied),
        scale_(scale),
        logit_scale_(logit_scale),
        logit_cap_(logit_cap) {}

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
    if (logit_scale_ != 1 || logit_cap_ > 0) {
      step.ops->scale(step.op, logits, logit_scale_, logit_cap_);
    }
  }

 private:
  int64_t vocabulary_, hidden_;
  bool tied_;
  float scale_, logit_scale_, logit_cap_;
  Packed table_, head_;
};

}  // namespace shardline
