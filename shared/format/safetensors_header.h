// The JSON header of one safetensors file, and the weight_map of an index file, read without
// building a document: memory stays in proportion to what is kept, depth is bounded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shared/base/status.h"

namespace shardline {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;           // "BF16"
  std::vector<int64_t> shape;  // outermost first
  uint64_t begin = 0;          // byte range in the data section
  uint64_t end = 0;
};

// The tensors of a header, in the header's order. Errors: InvalidArgument for JSON that is broken,
// deeper than a header is, or has duplicate, missing or unknown members or numbers that are no
// non-negative integers.
absl::StatusOr<std::vector<SafetensorsEntry>> ReadSafetensorsHeader(std::string_view json);

// {"weight_map": {tensor: file}} as pairs, in the file's order; other members are skipped.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ReadSafetensorsIndex(
    std::string_view json);

}  // namespace shardline
