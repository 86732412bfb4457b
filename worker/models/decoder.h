// The decoder loop: runs any ModelSpec.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "worker/layers/embedding.h"
#include "worker/layers/layer.h"
#include "worker/layers/norm.h"
#include "worker/layers/rope.h"
#include "worker/models/model.h"
#include "worker/models/spec.h"
#include "worker/weights/loader.h"

namespace shardline {

class Decoder final : public Model {
 public:
  // Builds the layers and their plan(). Start follows when that is loaded, so that a file whose
  // sizes are wrong is found out before memory is planned from them.
  Decoder(ModelSpec spec, const ModelOptions& options, DType type);

  const ModelSpec& spec() const { return spec_; }
  WeightPlan& plan() { return plan_; }
  absl::Status Start(MappedMemory weights, ModelInfo info);
  uint64_t activation_bytes() const { return arena_.bytes(); }  // since Start

  const ModelInfo& info() const override { return info_; }
  const std::vector<StateGroup>& state_groups() const override { return groups_; }
  absl::Status Forward(const StepPlan& plan, StateStorage& state) override;
  absl::Status Logits(int64_t first, int64_t count, const View& logits) override;

 private:
  struct RunBlock {
    Residual residual;
    std::optional<NormLayer> norm1;  // but with kPostNorm
    std::unique_ptr<Layer> mixer;
    std::optional<NormLayer> norm1_out;  // with kSandwich and kPostNorm
    std::optional<NormLayer> norm2;
    std::unique_ptr<Layer> ffn;  // null: none
    std::optional<NormLayer> norm2_out;
    float scale = 1;  // of what is added to the stream
  };

  void AddBlock(const Block& block, int64_t index);
  void PlaceState(Layer& layer);
  absl::Status PlanArena();
  void Carve(Workspace& arena);
  size_t LayerBytes() const;
  ScratchLimits Limits() const;
  absl::Status CheckPlan(const StepPlan& plan) const;
  void FillStep(const StepPlan& plan, StateStorage& state);
  void GatherWanted(const StepPlan& plan);
  absl::Status Run(const RunBlock& block, const View& x, const View& h);
  absl::Status RunPart(const std::optional<NormLayer>& norm, Layer& part,
                       const std::optional<NormLayer>& norm_out, float scale, const View& x,
                       const View& h);

  ModelSpec spec_;
  ModelOptions options_;
  DType type_;
  ModelInfo info_;

  EmbeddingAndHead embedding_;
  NormLayer final_norm_;
  std::vector<RunBlock> blocks_;
  std::vector<RopeTable> rope_tables_;
  std::vector<Rope> ropes_;
  std::vector<StateGroup> groups_;
  WeightPlan plan_;
  MappedMemory weights_;

  MappedMemory arena_;
  View ids_;        // [max tokens] u32
  View positions_;  // [max tokens] u32
  View x_, h_;      // [max tokens, hidden]: residual stream; input and output of layers
  View wanted_x_;   // the same, wanted rows of the stream; h_ itself where they are of one type
  View mixed_;      // the same, a mixer's output in a parallel block
  std::vector<View> cos_, sin_;  // per rope: [max tokens, rot_dim / 2] f32
  std::vector<View> slots_;      // per group: [max tokens] i64
  EmbeddingAndHead::Buffers head_memory_;
  View layer_memory_, scratch_;
  std::vector<GroupStep> group_steps_;
  std::vector<RopeStep> rope_steps_;
  StepContext step_;
  int64_t wanted_ = 0;
};

}  // namespace shardline
