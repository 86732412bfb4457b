// Stored numbers to f32, bf16 or f16: what a checkpoint's bytes mean. Blocks are bit-equal to the
// dequantisation of the Python package `gguf`. Block formats:
// https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/half.h"
#include "kernels/view.h"

namespace shardline {

// What a weight is stored as. kOther: a type that no function here reads.
enum class StoredType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kF8E4M3,  // times scales that stand elsewhere
  kOther
};

// The types above that are quantised, in words.
inline constexpr std::string_view kGgufQuantisations = "Q4_0 to Q8_0 and Q2_K to Q6_K";

// Elements and bytes of one block; {1, size} for plain numbers, {1, 0} for kOther.
struct StoredBlock {
  int64_t elements;
  int64_t bytes;
};
StoredBlock BlockOf(StoredType type);

// `count` elements (whole blocks) from `in`, which need not be aligned, to `out` as f32, bf16 or
// f16, times `scale` in f32.
void Dequantize(StoredType type, const std::byte* in, int64_t count, DType out_type, void* out,
                float scale = 1);

}  // namespace shardline
