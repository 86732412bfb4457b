// Keys of config.json that make another model of the same tensors, wherever a family has such a
// key.
#pragma once

#include "worker/weights/config.h"

namespace shardline {

// Refuses those that have a value that matters and that the family has not read: a checkpoint that
// came with code of its own under the name of an architecture that is served.
void RefuseUnreadKeys(HfConfig& config);

}  // namespace shardline
