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
  // A server that starts again is found again soon: somebody sits at the prompt.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

void AddDeadline(Options& options, std::optional<double>& seconds) {
  options.Parsed("deadline-seconds", "X", "the server gives up after this time",
                 [&seconds](const std::string& text) -> absl::Status {
                   SL_ASSIGN_OR_RETURN(seconds, ReadSeconds(text));
                   return absl::OkStatus();
                 });
}

void SetDeadline(grpc::ClientContext& context, const std::optional<double>& seconds) {
  if (!seconds) return;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::system_clock::duration>(
                           std::chrono::duration<double>(*seconds)));
}

void SetUnaryDeadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + kUnaryLimit);
}

std::string Describe(const std::string& target, const grpc::Status& status) {
  const std::string& text = status.error_message();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE &&
      text.find("failed to connect") != std::string::npos) {
    return Cat("no server answers at ", target,
               ": start shardline-gateway, or name another with --target");
  }
  std::string line = Cat(CodeName(status.error_code()), ": ", text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

int Report(const std::string& command, const std::string& target, const grpc::Status& status,
           Streams& streams) {
  return Fail(streams, command, Describe(target, status),
              IsCallersFault(status.error_code()) ? kBadInput : kFailed);
}

}  // namespace shardline::cli
