// Embedding and head, each rank with its part of the vocabulary.
#include "worker/layers/embedding.h"

#include <cstring>

namespace shardline {

void EmbeddingAndHead::Declare(WeightPlan& plan) {
  const Axis hidden{"hidden", spec_.hidden, 0};
  vocab_ = plan.Cut({"vocab", spec_.vocabulary, 1});
  plan.Matrix(&table_, {{"embed.weight", {vocab_, hidden}}});
  if (!spec_.tied) plan.Matrix(&head_, {{"head.weight", {vocab_, hidden}}});
  if (spec_.head_bias) plan.Vector(&head_bias_, {{"head.bias", {vocab_}}});
  if (spec_.positions > 0) {
    const Axis positions{"positions", spec_.positions, 0};
    plan.Matrix(&position_table_, {{"positions.weight", {positions, hidden}}});
  }
}

EmbeddingAndHead::Buffers EmbeddingAndHead::Take(Workspace& workspace, int64_t rows,
                                                 int ranks) const {
  if (ranks == 1) return {};
  const int64_t longest = (spec_.vocabulary + ranks - 1) / ranks;
  return {.part = workspace.Take(DType::kF32, {rows, longest}),
          .parts = workspace.Take(DType::kF32, {ranks, rows, longest})};
}

absl::Status EmbeddingAndHead::Embed(const StepContext& step, const View& ids,
                                     const View& positions, const View& h, const View& y) const {
  step.ops->embed(step.op, ids, table_, spec_.scale, y);
  SL_RETURN_IF_ERROR(step.group->AllReduce(y));  // a row is one rank's, and zeros of the others
  if (spec_.positions == 0) return absl::OkStatus();
  step.ops->embed(step.op, positions, position_table_, 1.0f, h);
  step.ops->add(step.op, y, h);
  return absl::OkStatus();
}

void EmbeddingAndHead::PartOfLogits(const StepContext& step, const View& x,
                                    const View& logits) const {
  step.ops->matmul(step.op, x, spec_.tied ? table_ : head_, spec_.head_bias ? &head_bias_ : nullptr,
                   logits);
  if (spec_.logit_scale != 1 || spec_.logit_cap > 0) {
    step.ops->scale(step.op, logits, spec_.logit_scale, spec_.logit_cap);
  }
}

absl::Status EmbeddingAndHead::Logits(const StepContext& step, const View& x,
                                      const Buffers& buffers, const View& logits) const {
  const int ranks = step.group->size();
  if (ranks == 1) {
    PartOfLogits(step, x, logits);
    return absl::OkStatus();
  }
  const int64_t rows = x.shape[0], longest = buffers.part.shape[1];
  const View part = View::Contiguous(buffers.part.data, DType::kF32, {rows, longest});
  const View parts = View::Contiguous(buffers.parts.data, DType::kF32, {ranks * rows, longest});
  PartOfLogits(step, x, part.Columns(0, vocab_.local()));
  SL_RETURN_IF_ERROR(step.group->AllGather(part, parts));
  for (int rank = 0; rank < ranks; ++rank) {
    SL_ASSIGN_OR_RETURN(const AxisRange range, CutAxis(vocab_, rank, ranks));
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(logits.Rows(row, 1).Columns(range.begin, range.size()).data,
                  parts.Rows(rank * rows + row, 1).data, range.size() * sizeof(float));
    }
  }
  return absl::OkStatus();
}

}  // namespace shardline
