#include "worker/engine/plan_builder.h"

namespace shardline {

void BuildPlan(const std::vector<Chunk>& chunks, StepPlan& plan, std::vector<WantedRow>& wanted) {
  plan.rows.clear();
  plan.tokens.clear();
  plan.wanted.clear();
  wanted.clear();
  for (const Chunk& chunk : chunks) {
    const Sequence& sequence = *chunk.sequence;
    PlanRow row{};
    row.slot = static_cast<uint32_t>(sequence.slot);
    row.first_position = static_cast<int32_t>(chunk.first);
    row.token_count = static_cast<int32_t>(chunk.count);
    row.first_token = static_cast<uint32_t>(plan.tokens.size());
    row.first_wanted = static_cast<uint32_t>(plan.wanted.size());
    row.prompt_tokens = static_cast<uint32_t>(sequence.prompt_tokens);
    row.form = chunk.first < sequence.prompt_tokens ? RowForm::kPrompt : RowForm::kDecode;
    for (int64_t i = chunk.first; i < chunk.first + chunk.count; ++i) {
      const bool next = i + 1 == static_cast<int64_t>(sequence.tokens.size());
      const bool record = sequence.prompt_sent >= 0 && i + 1 < sequence.prompt_tokens &&
                          i + 1 >= sequence.prompt_sent;
      if (next || record) {
        plan.wanted.push_back(static_cast<uint32_t>(plan.tokens.size()));
        wanted.push_back({chunk.sequence, i, next});
      }
      plan.tokens.push_back(sequence.tokens[i]);
    }
    row.wanted_count = static_cast<uint32_t>(plan.wanted.size()) - row.first_wanted;
    plan.rows.push_back(row);
  }
}

}  // namespace shardline
