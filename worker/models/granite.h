// What Granite's generations share: Llama's parts with four factors, in either format.
#pragma once

#include "worker/models/spec.h"
#include "worker/weights/checkpoint.h"

namespace shardline {

// All blocks alike.
ModelSpec GraniteFromHf(HfConfig& config);
// `experts`: whether the family may have mixtures of them, which it places itself.
ModelSpec GraniteFromGguf(GgufConfig& config, const Checkpoint& checkpoint, bool experts);

}  // namespace shardline
