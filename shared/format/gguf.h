// GGUF files (versions 2 and 3, little endian), mapped read-only: metadata for the gateway's
// tokenizer and templates, tensor data for the worker's weights. Format:
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "shared/base/status.h"
#include "shared/format/mapped_file.h"

namespace shardline {

// ggml's type ids, as stored in files.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ8_1 = 9,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kBF16 = 30,
};
// "Q4_1"; "type 99" for an unknown id.
std::string GgmlTypeName(GgmlType type);
// Elements and bytes of one block; nullopt for types whose layout this build does not know.
struct GgmlBlock {
  int64_t elements;
  int64_t bytes;
};
std::optional<GgmlBlock> GgmlBlockOf(GgmlType type);

struct GgufTensor {
  std::string_view name;
  GgmlType type;
  std::vector<int64_t> shape;       // outermost first: [out, in] (the file stores the reverse)
  std::span<const std::byte> data;  // inside the mapping; size checked against type and shape
};

// One metadata value. Strings and arrays point into the mapping.
struct GgufArray;
using GgufValue = std::variant<int64_t, uint64_t, double, bool, std::string_view, GgufArray>;
struct GgufArray {
  enum class Kind { kInt, kUint, kFloat, kBool, kString, kArray } kind;
  uint64_t size;
  // Filled according to kind; nested arrays (kArray) are skipped over and stay empty. All arrays of
  // a file together hold at most 2^26 elements.
  std::vector<int64_t> ints;
  std::vector<uint64_t> uints;
  std::vector<double> floats;
  std::vector<std::string_view> strings;  // kBool values are in `uints`
};

class GgufFile {
 public:
  // Errors: InvalidArgument "PATH: …" for anything malformed (bounds, duplicates, alignment,
  // sizes).
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& path);
  // The same for bytes in memory, which must outlive the result (tests, fuzzing).
  static absl::StatusOr<std::unique_ptr<GgufFile>> Parse(std::span<const std::byte> bytes,
                                                         std::string name);

  const std::string& path() const { return path_; }
  const GgufValue* Find(std::string_view key) const;
  // Typed look-ups: nullopt when the key is absent or of another kind. Integer kinds convert where
  // exact.
  std::optional<int64_t> Int(std::string_view key) const;
  std::optional<double> Float(std::string_view key) const;  // integers too
  std::optional<bool> Bool(std::string_view key) const;
  std::optional<std::string_view> String(std::string_view key) const;
  const GgufArray* Array(std::string_view key) const;
  const std::vector<std::pair<std::string_view, GgufValue>>& metadata() const { return metadata_; }

  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* FindTensor(std::string_view name) const;

 private:
  GgufFile() = default;
  absl::Status ReadAll(std::span<const std::byte> bytes);
  absl::StatusOr<uint64_t> Alignment() const;

  std::string path_;
  std::optional<MappedFile> file_;
  std::vector<std::pair<std::string_view, GgufValue>> metadata_;
  absl::flat_hash_map<std::string, size_t> metadata_index_;
  std::vector<GgufTensor> tensors_;
  absl::flat_hash_map<std::string, size_t> tensor_index_;
};

}  // namespace shardline
