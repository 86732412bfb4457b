// What must be the same on all nodes of a group, as the flags that say it: who adds a flag on which
// ranks must agree adds it here.
#pragma once

#include "worker/models/model.h"
#include "worker/parallel/meeting.h"
#include "worker/settings.h"

namespace shardline {

// Reads the model's headers. `model`: as it will be loaded. Errors: as DescribeModel.
absl::StatusOr<Terms> TermsOf(const WorkerSettings& settings, const ModelOptions& model);

}  // namespace shardline
