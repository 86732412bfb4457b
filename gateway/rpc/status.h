// absl::Status → grpc::Status, with google.rpc details: BadRequest for the field at fault,
// RetryInfo for what may be tried again.
#pragma once

#include <grpcpp/support/status.h>

#include "shared/base/status.h"

namespace shardline {

grpc::Status ToGrpc(const absl::Status& status);

}  // namespace shardline
