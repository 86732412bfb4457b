// Stored numbers to f32 or bf16: what a checkpoint's bytes mean. Bit-equal to the dequantisation of
// the Python package `gguf`. Block formats:
// https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/view.h"

namespace shardline {

// What a weight is stored as. kOther: a type that no function here reads.
enum class StoredType : uint8_t { kF32, kF16, kBF16, kQ4_0, kQ4_1, kQ8_0, kOther };

// Elements and bytes of one block; {1, size} for plain numbers, {1, 0} for kOther.
struct StoredBlock {
  int64_t elements;
  int64_t bytes;
};
StoredBlock BlockOf(StoredType type);

float WidenF16(uint16_t bits);
uint16_t RoundToBf16(float x);  // to nearest even; a NaN stays a NaN
inline float WidenBf16(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  return __builtin_bit_cast(float, wide);
}

// `count` elements (whole blocks) from `in`, which need not be aligned, to `out` as f32 or bf16.
void Dequantize(StoredType type, const std::byte* in, int64_t count, DType out_type, void* out);

}  // namespace shardline
