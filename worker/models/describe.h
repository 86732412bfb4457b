// What a model is made of, as text: blocks, weights, axes and state groups.
#pragma once

#include <string>

#include "worker/models/model.h"

namespace shardline {

// For `path`, `dtype` and `ops` of the options; no weight is read. Errors: as Model::Load.
absl::StatusOr<std::string> DescribeModel(const ModelOptions& options);

}  // namespace shardline
