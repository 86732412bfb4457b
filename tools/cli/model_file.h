// What a model's files hold, read without any of its weights: for `shardline inspect`.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "shared/base/status.h"

namespace shardline::cli {

struct ModelTensor {
  std::string name;
  std::string type;            // as the format names it: "Q4_1", "BF16"
  std::vector<int64_t> shape;  // outermost first
  uint64_t elements = 0;
  uint64_t bytes = 0;
};

struct ModelFile {
  std::string format;                // "GGUF" or "safetensors"
  nlohmann::ordered_json metadata;   // an object: GGUF's keys, config.json, or __metadata__
  std::vector<ModelTensor> tensors;  // in the file's order
};

// `path`: a GGUF file, a .safetensors file, or a directory with config.json and safetensors.
// Errors: the formats' own, "PATH: reason".
absl::StatusOr<ModelFile> ReadModelFile(const std::string& path);

}  // namespace shardline::cli
