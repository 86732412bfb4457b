// One rank of a group as the worker would build it, without weights and without the other ranks:
// the decoder itself, on operations that only count.
#pragma once

#include <memory>
#include <string>

#include "worker/engine/kv_plan.h"
#include "worker/models/open.h"
#include "worker/plan/dry_ops.h"
#include "worker/plan/traffic.h"

namespace shardline {

// Some sequences that each go on by as many tokens.
struct DryStep {
  int64_t sequences = 1, tokens = 1;
  int64_t first_position = 0;
};
struct StepCost {
  Work work;
  Traffic traffic;
};

class DryRank {
 public:
  // options: path (a config.json, a directory with one, with or without weights, or a .gguf file),
  // dtype, max_batch_tokens, max_context. Errors: as OpenModel.
  static absl::StatusOr<std::unique_ptr<DryRank>> Open(const ModelOptions& options, Split split);

  const ModelInfo& info() const { return opened_.decoder->info(); }
  const ModelSpec& spec() const { return opened_.decoder->spec(); }
  const WeightPlan& weights() const { return opened_.decoder->plan(); }
  const std::vector<StateGroup>& state_groups() const { return opened_.decoder->state_groups(); }
  const WeightLayout& layout() const { return layout_; }  // of its weights
  uint64_t activation_bytes() const { return opened_.decoder->activation_bytes(); }

  // Logits of every sequence's last token are made too.
  absl::StatusOr<StepCost> Run(const DryStep& step);

 private:
  explicit DryRank(Split split) : group_(split.rank, split.ranks) {}
  absl::Status Start();

  CountingGroup group_;
  OpenedModel opened_;
  WeightLayout layout_;
  std::unique_ptr<StateStorage> state_;  // one block of each group, which nobody reads
};

}  // namespace shardline
