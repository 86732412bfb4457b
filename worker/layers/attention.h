// Grouped-query attention with rotary positions or linear biases over the paged cache: multi-head
// when kv_heads == heads, multi-query when it is 1; over the whole sequence or a window of it.
// Source: https://arxiv.org/abs/2305.13245
#pragma once

#include "worker/layers/layer.h"
#include "worker/layers/linear.h"
#include "worker/layers/norm.h"
#include "worker/layers/rope.h"

namespace shardline {

// Slopes of ALiBi, one per head, and how the bias is added.
struct AlibiSpec {
  std::vector<float> slopes;  // [heads]; empty: no bias
  bool scaled = false;        // with the scores
  bool rounded = false;       // see kernels/ops.h
};

struct Attention {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  bool qkv_bias = false;
  bool out_bias = false;
  int64_t window = 0;  // a token sees so many positions, its own the last; 0: all before it
  double scale = 0;    // of scores; 0: head_dim^-1/2
  std::optional<NormSpec> head_norm;  // of each query's and each key's head, before the rotation
  Rope rope;                          // rot_dim 0: nothing rotates
  double clip = 0;                    // of queries, keys and values, before their norms; 0: none
  bool norm_per_head = false;         // head_norm has weights for each head
  AlibiSpec alibi;                    // not with score_cap
  double score_cap = 0;               // > 0: scores become cap * tanh(score / cap)
  std::optional<NormSpec> row_norm;   // of all queries and of all keys of a token, like head_norm
};

class AttentionLayer final : public Layer {
 public:
  // `rope`: index into StepContext::ropes.
  AttentionLayer(const Attention& spec, int64_t hidden, int rope);

  void Declare(const std::string& prefix, WeightPlan& plan) override;
  std::optional<StateGroup> state(DType type) const override;
  void PlaceState(StatePlace place) override { place_ = place; }
  void Plan(Workspace& workspace, DType type, int64_t tokens) const override {
    Take(workspace, type, tokens);
  }
  absl::Status Forward(const StepContext& step, Workspace workspace, const View& x,
                       const View& y) override;

 private:
  struct Buffers {
    View qkv;   // [tokens, (heads + 2 * kv_heads) * head_dim]
    View seen;  // [tokens, heads * head_dim]
    View rows;  // [tokens, all ranks' heads * head_dim], with row norms on several ranks
  };
  Buffers Take(Workspace& workspace, DType type, int64_t tokens) const;
  void CutHeads(WeightPlan& plan, Axis& heads, Axis& kv_heads);
  absl::Status NormWholeRows(const StepContext& step, const View& q, const View& k,
                             const View& rows) const;

  Attention spec_;
  int64_t hidden_;
  HeadParts here_;                    // the heads of this rank
  int64_t heads_ = 0, kv_heads_ = 0;  // how many these are
  bool owns_keys_ = true;             // of the ranks that hold these keys, the first
  bool gathers_ = false;              // norms of rows that are cut: see NormWholeRows
  int rope_;
  StatePlace place_;
  Linear qkv_, out_;
  std::optional<NormLayer> q_norm_, k_norm_;
};

}  // namespace shardline
