// Cuts attention into work for the threads.
#pragma once

#include "kernels/cpu/kernels.h"

namespace shardline {

size_t AttentionScratchBytes(const Kernels& kernels, const ScratchLimits& limits, int threads);
void CpuAttention(const Kernels& kernels, const OpContext& context, const AttentionArgs& args);

}  // namespace shardline
