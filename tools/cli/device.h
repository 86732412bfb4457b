// Devices that `shardline plan` knows by name.
#pragma once

#include <string_view>

#include "shared/base/status.h"
#include "worker/plan/plan.h"

namespace shardline::cli {

// Figures as published; GB are 10^9 bytes. Errors: InvalidArgument with the nearest name.
absl::StatusOr<Device> FindDevice(std::string_view name);

}  // namespace shardline::cli
