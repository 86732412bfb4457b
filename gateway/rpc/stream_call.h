// One Generate or Attach call on the wire: writes a stream's events as fast as the client takes
// them, and tells the router when the client has gone. gRPC owns it until OnDone.
#pragma once

#include <grpcpp/grpcpp.h>

#include "gateway/rpc/handlers.h"

namespace shardline {

// Start the call and return its reactor.
grpc::ServerWriteReactor<v1::GenerateEvent>* StartGenerateCall(const Gateway& gateway,
                                                               grpc::CallbackServerContext* context,
                                                               const v1::GenerateRequest& request);
grpc::ServerWriteReactor<v1::GenerateEvent>* StartAttachCall(const Gateway& gateway,
                                                             grpc::CallbackServerContext* context,
                                                             const v1::AttachRequest& request);

}  // namespace shardline
