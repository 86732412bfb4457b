#include "tools/cli/client.h"

#include <algorithm>
#include <chrono>
#include <ostream>

namespace shardline::cli {
namespace {

constexpr std::chrono::seconds kUnaryLimit{60};

const char* CodeName(grpc::StatusCode code) {
  static constexpr const char* kNames[] = {"OK",
                                           "CANCELLED",
                                           "UNKNOWN",
                                           "INVALID_ARGUMENT",
                                           "DEADLINE_EXCEEDED",
                                           "NOT_FOUND",
                                           "ALREADY_EXISTS",
                                           "PERMISSION_DENIED",
                                           "RESOURCE_EXHAUSTED",
                                           "FAILED_PRECONDITION",
                                           "ABORTED",
                                           "OUT_OF_RANGE",
                                           "UNIMPLEMENTED",
                                           "INTERNAL",
                                           "UNAVAILABLE",
                                           "DATA_LOSS",
                                           "UNAUTHENTICATED"};
  const int index = static_cast<int>(code);
  return index >= 0 && index < static_cast<int>(std::size(kNames)) ? kNames[index] : "UNKNOWN";
}

bool IsCallersFault(grpc::StatusCode code) {
  return code == grpc::StatusCode::INVALID_ARGUMENT || code == grpc::StatusCode::NOT_FOUND ||
         code == grpc::StatusCode::ALREADY_EXISTS || code == grpc::StatusCode::OUT_OF_RANGE;
}

}  // namespace

void AddTarget(Options& options, std::string& target) {
  target = kDefaultTarget;
  options.Text("target", "HOST:PORT", Cat("the server (default ", kDefaultTarget, ")"),
               [&target](const std::string& text) { target = text; });
}

std::shared_ptr<grpc::Channel> Connect(const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

void SetUnaryDeadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + kUnaryLimit);
}

int Report(const std::string& command, const std::string& target, const grpc::Status& status,
           Streams& streams) {
  const std::string& text = status.error_message();
  const int code = IsCallersFault(status.error_code()) ? kBadInput : kFailed;
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE &&
      text.find("failed to connect") != std::string::npos) {
    return Fail(streams, command,
                Cat("no server answers at ", target,
                    ": start shardline-gateway, or name another with --target"),
                code);
  }
  return Fail(streams, command, Cat(CodeName(status.error_code()), ": ", text), code);
}

}  // namespace shardline::cli
