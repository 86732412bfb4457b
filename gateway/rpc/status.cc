#include "gateway/rpc/status.h"

#include <cmath>

#include "gateway/field_error.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace shardline {

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message = Message(status);
  google::rpc::Status details;
  if (const auto field = FieldOf(status); field.has_value()) {
    google::rpc::BadRequest bad_request;
    auto* violation = bad_request.add_field_violations();
    violation->set_field(*field);
    violation->set_description(message);
    details.add_details()->PackFrom(bad_request);
  }
  if (const auto seconds = RetrySecondsOf(status); seconds.has_value()) {
    google::rpc::RetryInfo retry;
    auto* delay = retry.mutable_retry_delay();
    delay->set_seconds(static_cast<int64_t>(*seconds));
    delay->set_nanos(static_cast<int32_t>((*seconds - std::floor(*seconds)) * 1e9));
    details.add_details()->PackFrom(retry);
  }
  const auto code = static_cast<grpc::StatusCode>(status.code());
  if (details.details().empty()) return grpc::Status(code, message);
  details.set_code(static_cast<int32_t>(status.code()));
  details.set_message(message);
  return grpc::Status(code, message, details.SerializeAsString());
}

}  // namespace shardline
