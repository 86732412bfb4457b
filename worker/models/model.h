// A loaded model on one rank: weights, layers and the arena of activations. The engine drives it
// with step plans; it knows nothing of requests.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "kernels/view.h"
#include "shared/base/status.h"
#include "shared/ipc/step_plan.h"
#include "worker/state/state.h"

namespace shardline {

class ProcessGroup;  // worker/parallel/process_group.h

struct ModelInfo {
  std::string family;        // "llama"
  DType dtype;               // activations and KV
  std::string arithmetic;    // "bf16 products, f32 sums"
  std::string quantisation;  // the file's main weight type: "Q4_1", "none"
  int64_t vocabulary_size = 0;
  int64_t context_tokens = 0;  // after max_context
  int64_t layers = 0;
  int64_t hidden = 0;
  int64_t parameters = 0;
  uint64_t weight_bytes = 0;  // in memory
  bool batch_invariant = true;
  std::string capabilities;  // its family's: "generate, logprobs"
};

struct ModelOptions {
  std::string path;            // a .gguf file, or a directory with config.json and safetensors
  std::string dtype = "auto";  // auto | f32 | bf16 | f16
  const Ops* ops = nullptr;
  ThreadPool* threads = nullptr;
  int thread_count = 1;
  ProcessGroup* group = nullptr;
  bool expert_parallel = false;     // experts are dealt out to the ranks, instead of each being cut
  int64_t max_batch_tokens = 2048;  // tokens of one plan, at most
  std::function<void()> at_work;    // called between layers; null: nobody wants to know
  int64_t max_context = 0;          // 0: what the model states (32768 where it states none)
  // Called before weights are read, with what the model will need; its error ends Load. May be
  // null.
  std::function<absl::Status(const ModelInfo& info, const std::vector<StateGroup>& groups)>
      before_weights;
};

using ProgressFunction = std::function<void(std::string_view phase, double fraction)>;

class Model {
 public:
  // Errors: InvalidArgument "FILE: …" for a file that is broken, incomplete or not understood; all
  // missing, unused and misshapen tensors are listed in one line.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const ModelOptions& options,
                                                     const ProgressFunction& progress);
  virtual ~Model() = default;

  virtual const ModelInfo& info() const = 0;
  virtual const std::vector<StateGroup>& state_groups() const = 0;

  // Runs every layer for the plan's tokens, reading and writing `state` (whose tables already have
  // the plan's updates). Afterwards Logits() serves plan.wanted. The plan has at most
  // max_batch_tokens tokens.
  virtual absl::Status Forward(const StepPlan& plan, StateStorage& state) = 0;
  // Raw logits of wanted rows [first, first + count) of the last Forward: [count, vocabulary] f32.
  // Call in pieces of at most kLogitRows rows.
  virtual absl::Status Logits(int64_t first, int64_t count, const View& logits) = 0;
};

inline constexpr int64_t kLogitRows = 64;

}  // namespace shardline
