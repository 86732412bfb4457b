// What dense decoders share: sizes, activations and names as most configurations write them. A
// family calls these and changes what is its own.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "worker/models/spec.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/name_map.h"

namespace shardline {

// What the reference's configuration class says of a key that is left out. 0: the key is required.
struct HfDefaults {
  int64_t vocabulary = 0, hidden = 0, inner = 0, layers = 0, heads = 0;
  int64_t kv_heads = 0;  // 0: as many as heads
  int64_t head_dim = 0;  // 0: hidden / heads
  int64_t context = 0;
  bool tied_head = false;
  double norm_eps = 1e-6;
};

// What a configuration calls the sizes. Empty: it does not tell.
struct HfKeys {
  std::string_view vocabulary = "vocab_size", hidden = "hidden_size", inner = "intermediate_size",
                   layers = "num_hidden_layers", heads = "num_attention_heads",
                   kv_heads = "num_key_value_heads", head_dim = "head_dim",
                   context = "max_position_embeddings", norm_eps = "rms_norm_eps";
};

// Sizes, norms and one kind of block for all layers, without rope, window and biases. What is
// missing or cannot be served is noted in the configuration.
ModelSpec DenseFromHf(HfConfig& config, const HfDefaults& defaults, const HfKeys& keys = {});
// `experts`: whether the family may have mixtures of them, which it places itself.
ModelSpec DenseFromGguf(GgufConfig& config, const Checkpoint& checkpoint, bool experts = false);
// How many of the last blocks predict further tokens and are not read.
int64_t NextTokenLayers(GgufConfig& config);

// The attention and the MLP of the first block: what to change before Spread.
Attention& AttentionOf(Block& block);
Mlp& MlpOf(Block& block);
// LayerNorm in place of all norms.
void UseLayerNorm(ModelSpec& spec, bool weight, bool bias);
// Makes all blocks like the first.
void Spread(ModelSpec& spec);

// Notes an activation other than those of `served` under `key`.
void RequireActivation(HfConfig& config, std::string_view key,
                       const std::vector<std::string>& served);
// The activation under `key`, by transformers' name.
Activation ActivationFromHf(HfConfig& config, std::string_view key, std::string_view fallback);
// Notes keys that are true.
void RequireFalse(HfConfig& config, const std::vector<std::string_view>& keys);

// `layer_types` where it is given, otherwise what `fallback` says of a layer: whether it slides.
std::vector<bool> SlidingLayers(HfConfig& config, int64_t layers,
                                bool (*fallback)(int64_t, int64_t), int64_t argument);

// Qwen's windows: where `use_sliding_window` asks for them, in the layers that `layer_types` names
// or for which `slides` of the layer and `max_window_layers` is true. After Spread.
void AddWindows(HfConfig& config, ModelSpec& spec, bool (*slides)(int64_t, int64_t));
// In those from `max_window_layers` on.
void AddUpperWindows(HfConfig& config, ModelSpec& spec);

// "<prefix>layers.*.self_attn.q_proj" and so on.
NameTable HfNames(std::string_view prefix);
// "blk.*.attn_q" and so on; `order` of the rows of queries and keys.
NameTable GgufNames(RowOrder order = RowOrder::kAsStored);
// Another tensor for a slot; one for queries, keys and values together; one for gate and up. A path
// has "*" for the layer.
void Rename(NameTable& names, const std::string& slot, const std::string& tensor);
void FuseQkv(NameTable& names, const std::string& tensor, Fusion fusion);
void FuseMlp(NameTable& names, const std::string& tensor);
// The names of the norms on both sides of every part, and of those of heads or rows.
void SandwichNames(NameTable& names, const std::string& norm1_out, const std::string& norm2,
                   const std::string& norm2_out);
// "#" stands for the expert's number; without it the tensor holds all experts.
void ExpertNames(NameTable& names, const std::string& router, const std::string& gate,
                 const std::string& up, const std::string& down);
void HeadNormNames(NameTable& names, const std::string& q_norm, const std::string& k_norm);

}  // namespace shardline
