#include "gateway/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <prometheus/exposer.h>

#include "gateway/metrics_text.h"
#include "gateway/rpc/unreadable.h"
#include "gateway/services.h"

namespace shardline {
namespace {

// Pings find half-open peers within half a minute; clients may ping as often as every five seconds.
void SetKeepalive(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
}

std::string WithPort(const std::string& address, int port) {
  return Cat(address.substr(0, address.rfind(':') + 1), port);
}

// civetweb wants numbers.
std::string MetricsAddress(const std::string& address) {
  return address.rfind("localhost:", 0) == 0 ? Cat("127.0.0.1", address.substr(9)) : address;
}

}  // namespace

struct Server::Listeners {
  std::shared_ptr<MetricsText> metrics_text;
  std::unique_ptr<prometheus::Exposer> exposer;
  std::unique_ptr<grpc::Service> inference, control;
  std::unique_ptr<grpc::Server> grpc;
};

Server::Server() : listeners_(std::make_unique<Listeners>()) {}
Server::~Server() = default;

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Gateway& gateway) {
  std::unique_ptr<Server> server(new Server());
  Listeners& listeners = *server->listeners_;
  const Settings& settings = gateway.settings;

  listeners.metrics_text =
      std::make_shared<MetricsText>(gateway.metrics, settings.vllm_metric_names);
  try {
    listeners.exposer =
        std::make_unique<prometheus::Exposer>(MetricsAddress(settings.metrics_listen));
    listeners.exposer->RegisterCollectable(listeners.metrics_text);
    server->metrics_ =
        WithPort(settings.metrics_listen, listeners.exposer->GetListeningPorts().at(0));
  } catch (const std::exception&) {
    // Debian's civetweb is built without IPv6.
    const bool ipv6 = settings.metrics_listen.starts_with('[');
    return FailedPrecondition(
        "--metrics-listen ", settings.metrics_listen,
        ipv6 ? ": IPv6 is not served there, give an IPv4 address" : ": cannot listen there");
  }

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  listeners.inference = MakeInferenceService(gateway);
  listeners.control = MakeControlService(gateway);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(settings.listen, grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a port in use is an error
  builder.SetMaxReceiveMessageSize(static_cast<int>(kMaxReceiveBytes));
  SetKeepalive(builder);
  AnswerUnreadableRequests(builder);
  builder.RegisterService(listeners.inference.get());
  builder.RegisterService(listeners.control.get());
  listeners.grpc = builder.BuildAndStart();
  if (listeners.grpc == nullptr || port == 0) {
    return FailedPrecondition("--listen ", settings.listen, ": cannot listen there");
  }
  server->listen_ = WithPort(settings.listen, port);
  server->SetReady(false);
  server->SetLive(true);
  return server;
}

void Server::SetReady(bool ready) {
  grpc::HealthCheckServiceInterface* health = listeners_->grpc->GetHealthCheckService();
  health->SetServingStatus("", ready);
  health->SetServingStatus("shardline.ready", ready);
}

void Server::SetLive(bool live) {
  listeners_->grpc->GetHealthCheckService()->SetServingStatus("shardline.live", live);
}

void Server::Shutdown(std::chrono::milliseconds grace) {
  listeners_->grpc->Shutdown(std::chrono::system_clock::now() + grace);
}

std::string GrpcVersion() { return grpc::Version(); }

}  // namespace shardline
