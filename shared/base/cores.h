// How many processor cores this process may use.
#pragma once

namespace shardline {

// The affinity mask's cores, or the control group's CPU quota (rounded up) where that is less. At
// least 1.
int UsableCores();

}  // namespace shardline
