// Attach: a reader joins the stream of a live or lately finished request again. What follows is the
// stream's; rpc/stream_call.cc writes it out.
#include "gateway/field_error.h"
#include "gateway/rpc/handlers.h"
#include "gateway/validation.h"

namespace shardline {

absl::StatusOr<Router::Attached> StartAttach(const Gateway& gateway,
                                             const v1::AttachRequest& request,
                                             std::function<void()> listener) {
  SL_RETURN_IF_ERROR(CheckFields(request));
  if (request.request_id().empty()) return FieldError("request_id", "must not be empty");
  if (request.from_seq() == 0) return FieldError("from_seq", "0: events count from 1");
  return gateway.router.Attach(request.request_id(), request.from_seq(), std::move(listener));
}

}  // namespace shardline
