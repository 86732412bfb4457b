// Packing of weights for the CPU's products; the layout is the same for every instruction set.
#pragma once

#include "kernels/packed.h"
#include "kernels/view.h"

namespace shardline {

// Bytes of a packed [n, k] matrix of `type` (f32 or bf16).
size_t CpuPackedBytes(DType type, int64_t n, int64_t k);
// w: [n, k] f32 or bf16, rows may be strided. `memory`: CpuPackedBytes, best at a multiple of 64.
void CpuPack(const View& w, DType type, void* memory, Packed* out);

}  // namespace shardline
