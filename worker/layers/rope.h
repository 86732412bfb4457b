// Rotary positions and every scaling of them that Llama checkpoints use. Frequencies are computed
// in f32 in the order of transformers' modeling_rope_utils.py; angles, cosines and sines are f32 in
// every model type.
//
// Two scalings depend on the length of the sequence (dynamic, longrope). The length that counts for
// the token at position p of a sequence with a prompt of n tokens is max(n, p + 1): prompt tokens
// see the whole prompt however it is cut into chunks, and an emitted token sees the sequence up to
// itself. So a prompt's logits are those of one forward pass over it, continuing gives what a
// cached generation in transformers gives, and neighbours, chunks and replays change nothing.
//
// Sources: RoFormer https://arxiv.org/abs/2104.09864, YaRN https://arxiv.org/abs/2309.00071,
// LongRoPE https://arxiv.org/abs/2402.13753
#pragma once

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "kernels/ops.h"
#include "kernels/view.h"
#include "shared/ipc/step_plan.h"

namespace shardline {

struct NoScaling {
  bool operator==(const NoScaling&) const = default;
};
struct LinearScaling {
  double factor = 1;
  bool operator==(const LinearScaling&) const = default;
};
// The base grows with the sequence once it is longer than the model's context.
struct DynamicScaling {
  double factor = 1;
  int64_t max_positions = 0;
  bool operator==(const DynamicScaling&) const = default;
};
struct YarnScaling {
  double factor = 1;
  double original_positions = 0;
  double attention_factor = 1;  // multiplies cosines and sines
  double beta_fast = 32, beta_slow = 1;
  bool truncate = true;
  bool operator==(const YarnScaling&) const = default;
};
struct LongropeScaling {
  std::vector<float> short_factors, long_factors;  // [rot_dim / 2]
  double original_positions = 0;
  double attention_factor = 1;
  bool operator==(const LongropeScaling&) const = default;
};
struct Llama3Scaling {
  double factor = 1, low_freq_factor = 1, high_freq_factor = 4;
  double original_positions = 0;
  bool operator==(const Llama3Scaling&) const = default;
};

struct Rope {
  double theta = 10000;
  int64_t rot_dim = 0;  // even; the first rot_dim dimensions of a head rotate
  std::variant<NoScaling, LinearScaling, DynamicScaling, YarnScaling, LongropeScaling,
               Llama3Scaling>
      scaling;
  std::vector<float>
      divisors;  // of the frequencies, [rot_dim / 2]; empty: none (GGUF's rope_freqs)
  RopeStyle style = RopeStyle::kHalf;

  bool operator==(const Rope&) const = default;
};

// get_mscale of the YaRN paper's code: the factor that keeps attention's sharpness at `scale` times
// the length.
double YarnMagnitude(double scale, double mscale);

class RopeTable {
 public:
  explicit RopeTable(Rope rope);

  // Frequencies for a token whose sequence counts as `length` positions: [rot_dim / 2]. Valid until
  // the next call.
  std::span<const float> Frequencies(int64_t length);
  float attention_factor() const { return attention_factor_; }
  // Rotations of all the plan's tokens. cos, sin: [tokens, rot_dim / 2] f32.
  void Fill(const StepPlan& plan, const View& cos, const View& sin);

 private:
  void FillRow(const PlanRow& row, const View& cos, const View& sin);

  Rope rope_;
  float attention_factor_ = 1;
  std::vector<float> short_, long_;  // long_: longrope past its original length
  std::vector<float> grown_;         // dynamic: for `grown_length_`
  int64_t grown_length_ = 0;
};

}  // namespace shardline
