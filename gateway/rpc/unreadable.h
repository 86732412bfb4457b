// Requests whose bytes are no message of their type (malformed, or a string that is no UTF-8):
// gRPC answers these itself, before any handler, as if the method did not exist. What the server
// adds here turns that answer into INVALID_ARGUMENT.
#pragma once

#include <grpcpp/server_builder.h>

namespace shardline {

void AnswerUnreadableRequests(grpc::ServerBuilder& builder);

}  // namespace shardline
