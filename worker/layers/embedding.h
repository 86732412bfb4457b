// Token embedding, with learned positions where a model has them, and the head that turns hidden
// states into logits. A tied head is the embedding's own matrix: one packed copy serves both.
#pragma once

#include "worker/layers/layer.h"

namespace shardline {

struct EmbeddingSpec {
  int64_t vocabulary = 0, hidden = 0;
  bool tied = false;
  float scale = 1;        // of embeddings
  int64_t positions = 0;  // learned ones; 0: none
  bool head_bias = false;
  float logit_scale = 1;  // of the head's products
  float logit_cap = 0;    // > 0: logits are softly capped
};

class EmbeddingAndHead {
 public:
  explicit EmbeddingAndHead(const EmbeddingSpec& spec) : spec_(spec) {}

  void Declare(WeightPlan& plan) {
    const Axis vocab{"vocab", spec_.vocabulary, 1}, hidden{"hidden", spec_.hidden, 0};
    plan.Matrix(&table_, {{"embed.weight", {vocab, hidden}}});
    if (!spec_.tied) plan.Matrix(&head_, {{"head.weight", {vocab, hidden}}});
    if (spec_.head_bias) plan.Vector(&head_bias_, {{"head.bias", {vocab}}});
    if (spec_.positions > 0) {
      const Axis positions{"positions", spec_.positions, 0};
      plan.Matrix(&position_table_, {{"positions.weight", {positions, hidden}}});
    }
  }
  // ids: [tokens] u32 below the vocabulary's size; positions: the same, below the learned ones,
  // read where there are such; y, h (scratch): [tokens, hidden]
  void Embed(const StepContext& step, const View& ids, const View& positions, const View& h,
             const View& y) const {
    step.ops->embed(step.op, ids, table_, spec_.scale, y);
    if (spec_.positions == 0) return;
    step.ops->embed(step.op, positions, position_table_, 1.0f, h);
    step.ops->add(step.op, y, h);
  }
  // x: [rows, hidden]; logits: [rows, vocabulary] f32
  void Logits(const StepContext& step, const View& x, const View& logits) const {
    step.ops->matmul(step.op, x, spec_.tied ? table_ : head_,
                     spec_.head_bias ? &head_bias_ : nullptr, logits);
    if (spec_.logit_scale != 1 || spec_.logit_cap > 0) {
      step.ops->scale(step.op, logits, spec_.logit_scale, spec_.logit_cap);
    }
  }

 private:
  EmbeddingSpec spec_;
  Packed table_, head_, position_table_;
  View head_bias_;  // [vocabulary] f32
};

}  // namespace shardline
