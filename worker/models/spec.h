// A decoder as data: what a family's function makes of a configuration, and all that the decoder
// loop knows of a model. Parts are the layers' own spec structs.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "worker/layers/attention.h"
#include "worker/layers/latent_attention.h"
#include "worker/layers/mamba.h"
#include "worker/layers/mlp.h"
#include "worker/layers/moe.h"
#include "worker/layers/norm.h"

namespace shardline {

// How a block's parts and the residual stream are joined. Said outright, never guessed from the
// weights.
enum class Residual : uint8_t {
  kSequential,        // x += mixer(norm1(x)); x += ffn(norm2(x))
  kSandwich,          // x += norm1_out(mixer(norm1(x))); x += norm2_out(ffn(norm2(x)))
  kPostNorm,          // x += norm1_out(mixer(x)); x += norm2_out(ffn(x))
  kParallel,          // x += mixer(norm1(x)) + ffn(norm1(x))
  kParallelTwoNorms,  // x += mixer(norm1(x)) + ffn(norm2(x))
};

struct Block {
  Residual residual = Residual::kSequential;
  NormSpec norm;
  std::variant<Attention, LatentAttention, Mamba> mixer;
  std::variant<Mlp, Moe, std::monostate> ffn;  // monostate: none, only with kSequential
  double residual_scale = 1;                   // of what is added to the stream
};

struct ModelSpec {
  int64_t vocabulary = 0;
  int64_t hidden = 0;
  int64_t context = 0;  // positions the configuration states; 0: none
  bool tied_head = false;
  double embedding_scale = 1;
  NormSpec final_norm;
  std::vector<Block> blocks;
  bool round_embedding_scale = false;  // to the model's type
  double logit_scale = 1;              // of the head's products
  double logit_cap = 0;                // > 0: logits become cap * tanh(logit / cap)
  int64_t learned_positions = 0;       // added to embeddings; 0: none
  bool head_bias = false;
  // The residual stream is f32 whatever the model's type. Only with RMS norms before the parts.
  bool wide_stream = false;
};

// What no layer computes: sizes that do not divide, odd rotations, factors of the wrong length.
std::vector<std::string> SpecProblems(const ModelSpec& spec);
// The same in one line. Errors: InvalidArgument "FILE: …; …".
absl::Status ValidateSpec(const ModelSpec& spec, const std::string& file);

}  // namespace shardline
