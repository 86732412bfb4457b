// safetensors checkpoints, mapped read-only: one file, or the shards of
// model.safetensors.index.json. Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shared/base/status.h"
#include "shared/format/mapped_file.h"

namespace shardline {

// kOther: known to the format, but nothing here computes with it (U16, F8_E4M3, …).
enum class SafetensorsType : uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
  kOther
};

struct SafetensorsTensor {
  std::string name;
  SafetensorsType type;
  std::string type_name;            // as in the file: "BF16"
  std::vector<int64_t> shape;       // outermost first
  std::span<const std::byte> data;  // inside a mapping; size checked against type and shape, but
                                    // perhaps not aligned to its type
};

class SafetensorsCheckpoint {
 public:
  // `directory` holds model.safetensors (read when both are there) or model.safetensors.index.json.
  // Errors: InvalidArgument / NotFound "FILE: reason"; an index naming a tensor that its file
  // lacks, a file holding one that the index does not name, and names with path separators ("../x")
  // are errors.
  static absl::StatusOr<std::unique_ptr<SafetensorsCheckpoint>> Open(const std::string& directory);
  // One file in memory (tests, fuzzing); `bytes` must outlive the result.
  static absl::StatusOr<std::unique_ptr<SafetensorsCheckpoint>> Parse(
      std::span<const std::byte> bytes, std::string name);

  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }
  const SafetensorsTensor* Find(std::string_view name) const;

 private:
  SafetensorsCheckpoint() = default;
  absl::Status AddFile(std::span<const std::byte> bytes, const std::string& name);
  absl::Status OpenShards(const std::string& directory, const std::string& index_path);

  std::vector<MappedFile> files_;
  std::vector<SafetensorsTensor> tensors_;
  absl::flat_hash_map<std::string, size_t> index_;
};

}  // namespace shardline
