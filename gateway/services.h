// The two gRPC services: each method calls its handler in rpc/ and turns the status into gRPC's.
#pragma once

#include <grpcpp/impl/service_type.h>

#include <memory>

#include "gateway/rpc/handlers.h"

namespace shardline {

std::unique_ptr<grpc::Service> MakeInferenceService(const Gateway& gateway);
std::unique_ptr<grpc::Service> MakeControlService(const Gateway& gateway);

}  // namespace shardline
