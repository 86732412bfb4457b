// The unary calls, one file each, and what they share. Free of gRPC: services.cc turns their
// statuses into gRPC's.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "gateway/drain.h"
#include "gateway/model_text.h"
#include "gateway/router.h"
#include "gateway/settings.h"
#include "gateway/text_pool.h"
#include "shardline/v1/control.pb.h"
#include "shardline/v1/inference.pb.h"
#include "shared/base/status.h"
#include "shared/base/trace.h"

namespace shardline {

inline constexpr uint64_t kMaxReceiveBytes = uint64_t{64} << 20;

// What every call sees of the running gateway.
struct Gateway {
  const Settings& settings;
  const ModelText& text;
  Router& router;
  Metrics& metrics;
  TextPool& text_pool;
  Drain& drain;
  Trace* trace;  // null: none
  std::string grpc_version;
  mutable std::atomic<int> open_streams{0};  // streaming calls whose last event is not yet out
};

// An empty name means the served model. Errors: NotFound.
absl::Status CheckModel(const Gateway& gateway, const std::string& model);

// Where the text pool takes no more.
absl::Status TooManyLargeRequests();

// What a Generate call brings besides its request.
struct CallFacts {
  uint64_t deadline_ns = 0;  // CLOCK_MONOTONIC; 0: none
  std::string traceparent;   // W3C Trace Context's header, as it came; empty: none
};

// Generate up to `accepted`: checks, renders, tokenises and admits.
absl::StatusOr<std::shared_ptr<LiveRequest>> StartGenerate(const Gateway& gateway,
                                                           const v1::GenerateRequest& request,
                                                           const CallFacts& call);

// Attach up to its first event. `listener`: see EventStream::Join.
absl::StatusOr<Router::Attached> StartAttach(const Gateway& gateway,
                                             const v1::AttachRequest& request,
                                             std::function<void()> listener);

absl::Status Tokenize(const Gateway& gateway, const v1::TokenizeRequest& request,
                      v1::TokenizeResponse* response);
absl::Status Detokenize(const Gateway& gateway, const v1::DetokenizeRequest& request,
                        v1::DetokenizeResponse* response);
absl::Status RenderChat(const Gateway& gateway, const v1::RenderChatRequest& request,
                        v1::RenderChatResponse* response);
absl::Status Embed(const Gateway& gateway, const v1::EmbedRequest& request,
                   v1::EmbedResponse* response);
absl::Status Classify(const Gateway& gateway, const v1::ClassifyRequest& request,
                      v1::ClassifyResponse* response);

absl::Status GetServerInfo(const Gateway& gateway, const v1::GetServerInfoRequest& request,
                           v1::GetServerInfoResponse* response);
absl::Status ListModels(const Gateway& gateway, const v1::ListModelsRequest& request,
                        v1::ListModelsResponse* response);
absl::Status GetModel(const Gateway& gateway, const v1::GetModelRequest& request,
                      v1::Model* response);
absl::Status GetLoad(const Gateway& gateway, const v1::GetLoadRequest& request,
                     v1::GetLoadResponse* response);
absl::Status Abort(const Gateway& gateway, const v1::AbortRequest& request,
                   v1::AbortResponse* response);

}  // namespace shardline
