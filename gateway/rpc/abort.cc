// Abort: ends one request or all of them; their streams finish with ABORTED.
#include "gateway/field_error.h"
#include "gateway/rpc/handlers.h"

namespace shardline {

absl::Status Abort(const Gateway& gateway, const v1::AbortRequest& request,
                   v1::AbortResponse* response) {
  switch (request.target_case()) {
    case v1::AbortRequest::kRequestId:
      if (request.request_id().empty()) return FieldError("request_id", "must not be empty");
      response->set_aborted(gateway.router.Abort(request.request_id()));
      return absl::OkStatus();
    case v1::AbortRequest::kAll:
      if (!request.all()) return FieldError("all", "must be true where it is set");
      response->set_aborted(gateway.router.AbortAll());
      return absl::OkStatus();
    case v1::AbortRequest::TARGET_NOT_SET:
      break;
  }
  return FieldError("request_id", "a request_id or all must be set");
}

}  // namespace shardline
