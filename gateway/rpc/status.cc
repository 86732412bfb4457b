#include "gateway/rpc/status.h"

#include <cmath>

#include "gateway/field_error.h"
#include "gateway/text/utf8.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace shardline {

namespace {

// Messages quote what a request holds: names, parts of templates. On the wire they are one line of
// well-formed text all the same, which protobuf's strings must be.
std::string OneLine(const std::string& message) {
  std::string line = ReplaceIllFormed(message);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return line;
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message = OneLine(Message(status));
  google::rpc::Status details;
  if (const auto field = FieldOf(status); field.has_value()) {
    google::rpc::BadRequest bad_request;
    auto* violation = bad_request.add_field_violations();
    violation->set_field(OneLine(*field));
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
