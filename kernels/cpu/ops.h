// One table of operations per instruction set; dispatch.cc picks among those that the machine can
// run.
#pragma once

#include "kernels/ops.h"

namespace shardline {

extern const Ops kScalarOps;
extern const Ops kAvx2Ops;
extern const Ops kAvx512Ops;
extern const Ops kAvx512Bf16Ops;

}  // namespace shardline
