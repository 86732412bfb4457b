#include "gateway/services.h"

#include <grpcpp/grpcpp.h>

#include "gateway/rpc/drain_call.h"
#include "gateway/rpc/status.h"
#include "gateway/rpc/stream_call.h"
#include "gateway/validation.h"
#include "shardline/v1/control.grpc.pb.h"
#include "shardline/v1/inference.grpc.pb.h"

namespace shardline {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using grpc::ServerWriteReactor;

template <typename Request, typename Response>
using Handler = absl::Status (*)(const Gateway&, const Request&, Response*);

template <typename Request, typename Response>
ServerUnaryReactor* Answer(const Gateway& gateway, CallbackServerContext* context,
                           Handler<Request, Response> handler, const Request* request,
                           Response* response) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto answer = [&gateway, handler, request, response, reactor] {
    absl::Status status = CheckFields(static_cast<const google::protobuf::Message&>(*request));
    if (status.ok()) status = handler(gateway, *request, response);
    reactor->Finish(ToGrpc(status));
  };
  if (request->ByteSizeLong() <= TextPool::kInlineBytes) {
    answer();
  } else if (!gateway.text_pool.Post(answer)) {  // request and response live until Finish
    reactor->Finish(ToGrpc(TooManyLargeRequests()));
  }
  return reactor;
}

class InferenceService final : public v1::Inference::CallbackService {
 public:
  explicit InferenceService(const Gateway& gateway) : gateway_(gateway) {}

  ServerWriteReactor<v1::GenerateEvent>* Generate(CallbackServerContext* context,
                                                  const v1::GenerateRequest* request) override {
    return StartGenerateCall(gateway_, context, *request);
  }
  ServerWriteReactor<v1::GenerateEvent>* Attach(CallbackServerContext* context,
                                                const v1::AttachRequest* request) override {
    return StartAttachCall(gateway_, context, *request);
  }
  ServerUnaryReactor* Embed(CallbackServerContext* context, const v1::EmbedRequest* request,
                            v1::EmbedResponse* response) override {
    return Answer(gateway_, context, shardline::Embed, request, response);
  }
  ServerUnaryReactor* Classify(CallbackServerContext* context, const v1::ClassifyRequest* request,
                               v1::ClassifyResponse* response) override {
    return Answer(gateway_, context, shardline::Classify, request, response);
  }
  ServerUnaryReactor* Tokenize(CallbackServerContext* context, const v1::TokenizeRequest* request,
                               v1::TokenizeResponse* response) override {
    return Answer(gateway_, context, shardline::Tokenize, request, response);
  }
  ServerUnaryReactor* Detokenize(CallbackServerContext* context,
                                 const v1::DetokenizeRequest* request,
                                 v1::DetokenizeResponse* response) override {
    return Answer(gateway_, context, shardline::Detokenize, request, response);
  }
  ServerUnaryReactor* RenderChat(CallbackServerContext* context,
                                 const v1::RenderChatRequest* request,
                                 v1::RenderChatResponse* response) override {
    return Answer(gateway_, context, shardline::RenderChat, request, response);
  }

 private:
  const Gateway& gateway_;
};

class ControlService final : public v1::Control::CallbackService {
 public:
  explicit ControlService(const Gateway& gateway) : gateway_(gateway) {}

  ServerUnaryReactor* GetServerInfo(CallbackServerContext* context,
                                    const v1::GetServerInfoRequest* request,
                                    v1::GetServerInfoResponse* response) override {
    return Answer(gateway_, context, shardline::GetServerInfo, request, response);
  }
  ServerUnaryReactor* ListModels(CallbackServerContext* context,
                                 const v1::ListModelsRequest* request,
                                 v1::ListModelsResponse* response) override {
    return Answer(gateway_, context, shardline::ListModels, request, response);
  }
  ServerUnaryReactor* GetModel(CallbackServerContext* context, const v1::GetModelRequest* request,
                               v1::Model* response) override {
    return Answer(gateway_, context, shardline::GetModel, request, response);
  }
  ServerUnaryReactor* GetLoad(CallbackServerContext* context, const v1::GetLoadRequest* request,
                              v1::GetLoadResponse* response) override {
    return Answer(gateway_, context, shardline::GetLoad, request, response);
  }
  ServerUnaryReactor* Abort(CallbackServerContext* context, const v1::AbortRequest* request,
                            v1::AbortResponse* response) override {
    return Answer(gateway_, context, shardline::Abort, request, response);
  }
  ServerWriteReactor<v1::DrainProgress>* Drain(CallbackServerContext*,
                                               const v1::DrainRequest* request) override {
    return StartDrainCall(gateway_, *request);
  }

 private:
  const Gateway& gateway_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInferenceService(const Gateway& gateway) {
  return std::make_unique<InferenceService>(gateway);
}

std::unique_ptr<grpc::Service> MakeControlService(const Gateway& gateway) {
  return std::make_unique<ControlService>(gateway);
}

}  // namespace shardline
