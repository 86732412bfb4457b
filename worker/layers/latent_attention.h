// Multi-head latent attention in its absorbed form: the cache holds one latent and one rotated key
// for each token, which all heads share. A head's map from latents to keys is moved to its queries,
// its map to values to what attention gives, so that attention sees the latents alone. Source:
// https://arxiv.org/abs/2405.04434
#pragma once

#include <optional>
#include <vector>

#include "worker/layers/layer.h"
#include "worker/layers/linear.h"
#include "worker/layers/norm.h"
#include "worker/layers/rope.h"

namespace shardline {

struct LatentAttention {
  int64_t heads = 0;
  int64_t q_rank = 0;     // of the queries' latent; 0: queries are made of the input
  int64_t kv_rank = 0;    // of the latent that keys and values are made of
  int64_t nope_dim = 0;   // of a head's queries and keys: those that do not rotate
  int64_t value_dim = 0;  // of a head
  bool bias = false;      // of the products that make latents, and of the last
  double scale = 0;       // of scores; 0: (nope_dim + rope.rot_dim)^-1/2
  NormSpec latent_norm;
  Rope rope;  // rot_dim: a head's dimensions that rotate
};

class LatentAttentionLayer final : public Layer {
 public:
  // `rope`: index into StepContext::ropes.
  LatentAttentionLayer(const LatentAttention& spec, int64_t hidden, int rope);

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
    View q_latent;  // [tokens, q_rank]; none without a rank
    View q;         // [tokens, heads, nope_dim + rot_dim]
    View key;       // [tokens, kv_rank + rot_dim]
    View absorbed;  // queries of the shared key: [tokens, heads, kv_rank + rot_dim]
    View latents;   // weighted sums: [tokens, heads, kv_rank]
    View seen;      // [tokens, heads * value_dim]
  };
  Buffers Take(Workspace& workspace, DType type, int64_t tokens) const;
  void MakeQueries(const StepContext& step, const View& x, const Buffers& buffers) const;
  void MakeKeys(const StepContext& step, const View& x, const View& key) const;

  LatentAttention spec_;
  int64_t hidden_, rot_dim_, key_dim_;
  int64_t heads_ = 0;  // on this rank
  int rope_;
  StatePlace place_;
  Linear q_a_, q_b_;  // without a rank q_b_ alone, on the input
  Linear kv_a_, out_;
  NormLayer q_norm_, kv_norm_;
  std::vector<Packed> k_b_,
      v_b_;  // by head of this rank: [kv_rank, nope_dim], [value_dim, kv_rank]
};

}  // namespace shardline
