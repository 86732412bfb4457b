#include "worker/plan/dry_rank.h"

#include <filesystem>

namespace shardline {
namespace {

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// With weights as the worker opens it, so that their types count.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    const bool weights = Exists(Cat(path, "/model.safetensors")) ||
                         Exists(Cat(path, "/model.safetensors.index.json"));
    return weights ? Checkpoint::Open(path) : Checkpoint::OpenConfig(Cat(path, "/config.json"));
  }
  return path.ends_with(".json") ? Checkpoint::OpenConfig(path) : Checkpoint::Open(path);
}

}  // namespace

absl::StatusOr<std::unique_ptr<DryRank>> DryRank::Open(const ModelOptions& options, Split split) {
  std::unique_ptr<DryRank> rank(new DryRank(split));
  SL_ASSIGN_OR_RETURN(std::unique_ptr<Checkpoint> checkpoint, OpenCheckpoint(options.path));
  ModelOptions dry = options;
  dry.ops = &DryOps();
  dry.group = &rank->group_;
  SL_ASSIGN_OR_RETURN(rank->opened_, OpenModel(dry, std::move(checkpoint)));
  SL_RETURN_IF_ERROR(rank->Start());
  return rank;
}

// Weights have sizes and no memory.
absl::Status DryRank::Start() {
  WeightPlan& plan = opened_.decoder->plan();
  const DType type = opened_.info.dtype;
  layout_ = LayOutWeights(plan, DryOps(), type);
  for (const MatrixTarget& target : plan.matrices) {
    *target.packed = {.type = target.in_f32 ? DType::kF32 : type,
                      .rows = target.rows(),
                      .cols = target.cols(),
                      .bytes = PackedBytes(target, DryOps(), type)};
  }
  for (const VectorTarget& target : plan.vectors) {
    *target.view = View::Contiguous(nullptr, DType::kF32, {target.size()});
  }
  const int64_t context = opened_.info.context_tokens;
  SL_RETURN_IF_ERROR(opened_.decoder->Start({}, opened_.info));
  SL_ASSIGN_OR_RETURN(
      state_, StateStorage::Create(state_groups(), std::vector<int32_t>(state_groups().size(), 1),
                                   /*max_sequences=*/1, context));
  return absl::OkStatus();
}

absl::StatusOr<StepCost> DryRank::Run(const DryStep& step) {
  StepPlan plan;
  for (int64_t s = 0; s < step.sequences; ++s) {  // all in one slot: its blocks are not touched
    plan.rows.push_back({.slot = 0,
                         .first_position = static_cast<int32_t>(step.first_position),
                         .token_count = static_cast<int32_t>(step.tokens),
                         .first_token = static_cast<uint32_t>(plan.tokens.size()),
                         .first_wanted = static_cast<uint32_t>(s),
                         .wanted_count = 1});
    plan.tokens.resize(plan.tokens.size() + step.tokens);
    plan.wanted.push_back(static_cast<uint32_t>(plan.tokens.size() - 1));
  }
  StepCost cost;
  const WorkCount count(cost.work);
  group_.Take();
  SL_RETURN_IF_ERROR(opened_.decoder->Forward(plan, *state_));
  const int64_t vocabulary = info().vocabulary_size;
  std::vector<float> logits(std::min(step.sequences, kLogitRows) * vocabulary);
  for (int64_t first = 0; first < step.sequences; first += kLogitRows) {
    const int64_t rows = std::min(kLogitRows, step.sequences - first);
    SL_RETURN_IF_ERROR(opened_.decoder->Logits(
        first, rows, View::Contiguous(logits.data(), DType::kF32, {rows, vocabulary})));
  }
  cost.traffic = group_.Take();
  return cost;
}

}  // namespace shardline
