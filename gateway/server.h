// The gateway's two listeners: gRPC (services, health, reflection) and /metrics.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "gateway/rpc/handlers.h"

namespace shardline {

class Server {
 public:
  // Listens at once, with everything but liveness reported as not serving. `gateway` outlives the
  // server. Errors: FailedPrecondition naming the flag whose address cannot be had.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Gateway& gateway);
  ~Server();

  // HOST:PORT as bound.
  const std::string& listen() const { return listen_; }
  const std::string& metrics() const { return metrics_; }

  // What grpc.health.v1 answers for "" and "shardline.ready".
  void SetReady(bool ready);
  void SetLive(bool live);

  // Stops taking calls and waits for the live ones; after `grace` cancels what is left.
  void Shutdown(std::chrono::milliseconds grace);

 private:
  struct Listeners;  // gRPC's and prometheus-cpp's types
  Server();

  std::unique_ptr<Listeners> listeners_;
  std::string listen_, metrics_;
};

// For GetServerInfo.
std::string GrpcVersion();

}  // namespace shardline
