// What a worker says of its model and load, as Control's answers say it.
#pragma once

#include "shardline/v1/control.pb.h"
#include "shared/ipc/message.h"

namespace shardline {

// Fills what the worker knows: family, dtype, arithmetic, quantisation, context, vocabulary,
// invariance.
void FillModel(const Ready& ready, v1::Model* model);

// A worker group's state as of its last report.
v1::GroupLoad ToGroupLoad(uint32_t replica, const StepReport& report, bool ready);

}  // namespace shardline
