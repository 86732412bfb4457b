// The tensors of a checkpoint by name, whichever format holds them: a .gguf file, or a directory
// with config.json and safetensors (one file or an index of shards). Mapped, never copied.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shared/base/status.h"
#include "shared/format/gguf.h"
#include "shared/format/safetensors.h"
#include "worker/weights/config.h"
#include "worker/weights/dequantize.h"

namespace shardline {

// What a tensor's numbers are multiplied with: one scale for each block of `rows` by `cols`.
struct Scales {
  StoredType type = StoredType::kF32;
  std::span<const std::byte> data;
  int64_t rows = 1, cols = 1;
  int64_t stride = 1;  // scales of one row of blocks

  float At(int64_t row, int64_t col) const;
};

struct StoredTensor {
  std::string name;
  StoredType type = StoredType::kOther;
  std::string type_name;            // as the file calls it: "Q4_1", "BF16"
  std::vector<int64_t> shape;       // outermost first: [out, in]
  std::span<const std::byte> data;  // inside the mapping
  std::optional<Scales> scales = {};

  int64_t elements() const;
  // Seen as a matrix [rows, cols]: the last dimension is cols (a vector is one row).
  int64_t cols() const { return shape.empty() ? 1 : shape.back(); }
  int64_t rows() const;
  const std::byte* Row(int64_t row) const;
  // Elements [first, first + count) of a row, whole blocks of a quantised type, as numbers.
  void Widen(int64_t row, int64_t first, int64_t count, DType out_type, void* out) const;
};

// "[4096, 128]"
std::string ShapeText(const std::vector<int64_t>& shape);

class Checkpoint {
 public:
  // Errors: NotFound / InvalidArgument "FILE: reason".
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& path);
  // A config.json and no tensors: what a model would be.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> OpenConfig(const std::string& file);

  const std::string& path() const { return path_; }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }  // sorted by name
  const StoredTensor* Find(std::string_view name) const;
  // The configuration: exactly one of the two is not null. A GGUF file without metadata has
  // Hugging Face's (worker/weights/candle.h).
  HfConfig* hf() const { return hf_.get(); }
  GgufConfig* gguf() const { return gguf_config_.get(); }
  // The type that holds most weights; of a config.json alone, the one that it states.
  StoredType main_type() const { return main_type_; }
  // Its name if it is a quantised one, else "none".
  std::string quantisation() const;

 private:
  Checkpoint() = default;
  void Index();

  std::string path_;
  std::unique_ptr<GgufFile> gguf_file_;
  std::unique_ptr<SafetensorsCheckpoint> safetensors_;
  std::unique_ptr<HfConfig> hf_;
  std::unique_ptr<GgufConfig> gguf_config_;
  std::vector<StoredTensor> tensors_;
  StoredType main_type_ = StoredType::kOther;
};

}  // namespace shardline
