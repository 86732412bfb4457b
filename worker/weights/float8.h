// Weights of eight bits in safetensors, and the scales that stand beside them: numbers of F8_E4M3,
// times one scale for each block, row or tensor. Layouts: "fp8" of DeepSeek V3 and of AutoFP8,
// "fbgemm_fp8", and compressed-tensors' floats of eight bits. Scales of activations and of the
// cache, which these files have too, are not used: here neither is rounded to eight bits.
#pragma once

#include <optional>
#include <vector>

#include "shared/base/status.h"
#include "worker/weights/checkpoint.h"

namespace shardline {

// What config.json says of quantised weights: the size of the blocks that share a scale, 0 where it
// names none. Nothing where the weights are not quantised. Errors: InvalidArgument "FILE:
// quantization_config.quant_method 'X' is not read: …".
struct ScaleBlocks {
  int64_t rows = 0, cols = 0;
};
absl::StatusOr<std::optional<ScaleBlocks>> ReadQuantisation(HfConfig& config);

// Gives every tensor of F8_E4M3 its scales and takes all scales out of the list; one without them
// stays unreadable. Errors: InvalidArgument naming a scale of another shape or type.
absl::Status AttachScales(const ScaleBlocks& blocks, std::vector<StoredTensor>& tensors);

}  // namespace shardline
