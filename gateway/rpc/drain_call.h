// One Drain call on the wire: asks for the server's end and writes how far it is. gRPC owns it
// until OnDone.
#pragma once

#include <grpcpp/grpcpp.h>

#include "gateway/rpc/handlers.h"

namespace shardline {

grpc::ServerWriteReactor<v1::DrainProgress>* StartDrainCall(const Gateway& gateway,
                                                            const v1::DrainRequest& request);

}  // namespace shardline
