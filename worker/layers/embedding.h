// Token embedding, with learned positions where a model has them, and the head that turns hidden
// states into logits. A tied head is the embedding's own matrix: one packed copy serves both. Both
// are cut along the vocabulary: a rank embeds the tokens that it has, and gives their logits.
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
  // For logits of several ranks, whose parts are as long as the longest.
  struct Buffers {
    View part;   // [rows, longest part] f32; with one rank nothing
    View parts;  // [ranks, rows, longest part]
  };

  explicit EmbeddingAndHead(const EmbeddingSpec& spec) : spec_(spec) {}

  void Declare(WeightPlan& plan);
  // For Logits of up to `rows` rows.
  Buffers Take(Workspace& workspace, int64_t rows, int ranks) const;
  // ids: [tokens] u32, counted from the first that this rank has: others give nothing. positions:
  // [tokens] u32 below the learned ones, read where there are such; y, h (scratch): [tokens,
  // hidden]
  absl::Status Embed(const StepContext& step, const View& ids, const View& positions, const View& h,
                     const View& y) const;
  // x: [rows, hidden]; logits: [rows, vocabulary] f32, of all ranks on every rank
  absl::Status Logits(const StepContext& step, const View& x, const Buffers& buffers,
                      const View& logits) const;

  // The first token of this rank's part.
  int64_t first_token() const { return vocab_.begin(); }

 private:
  void PartOfLogits(const StepContext& step, const View& x, const View& logits) const;

  EmbeddingSpec spec_;
  Axis vocab_;
  Packed table_, head_, position_table_;
  View head_bias_;  // [vocabulary] f32
};

}  // namespace shardline
