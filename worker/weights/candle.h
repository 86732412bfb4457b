// GGUF files as candle writes them: no metadata at all, and tensors under Hugging Face's names. So
// they are Hugging Face's checkpoints in another container, and want a configuration of that kind.
// Source: https://github.com/huggingface/candle (quantized_mistral.rs, quantized_mpt.rs)
#pragma once

#include <memory>

#include "shared/base/status.h"
#include "shared/format/gguf.h"
#include "worker/weights/config.h"

namespace shardline {

// Whether the file is one of these.
bool IsFromCandle(const GgufFile& file);

// config.json beside the file, or what is published for a model of such shapes: heads, rope, window
// and epsilon do not show in any shape. Errors: InvalidArgument "FILE: …" where neither is there.
absl::StatusOr<std::unique_ptr<HfConfig>> ConfigOfCandleFile(const GgufFile& file);

}  // namespace shardline
