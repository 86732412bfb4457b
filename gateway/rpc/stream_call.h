// One Generate call on the wire: writes a live request's events as fast as the client takes them,
// and tells the router when the client has gone. gRPC owns it until OnDone.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <mutex>

#include "gateway/rpc/handlers.h"

namespace shardline {

// Starts the call and returns its reactor.
grpc::ServerWriteReactor<v1::GenerateEvent>* StartGenerateCall(const Gateway& gateway,
                                                               grpc::CallbackServerContext* context,
                                                               const v1::GenerateRequest& request);

}  // namespace shardline
