// ggml's "k" block types: 256 elements to a block, in parts of 16 or 32 with small scales of their
// own, which are quantised in turn. Each function widens one block from `in` (unaligned) to
// out[256], in the order of operations of the Python package `gguf`, so to the same bits.
// Layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
#pragma once

#include <cstddef>

namespace shardline {

inline constexpr int kSuperBlock = 256;

void WidenQ2K(const std::byte* in, float* out);
void WidenQ3K(const std::byte* in, float* out);
void WidenQ4K(const std::byte* in, float* out);
void WidenQ5K(const std::byte* in, float* out);
void WidenQ6K(const std::byte* in, float* out);

}  // namespace shardline
