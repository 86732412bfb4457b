// The way to a server, and what a failed call looks like on the command line.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>

#include "tools/cli/commands.h"
#include "tools/cli/options.h"

namespace shardline::cli {

inline constexpr char kDefaultTarget[] = "127.0.0.1:50051";

// Adds --target to the flags.
void AddTarget(Options& options, std::string& target);

// Messages of any size may come; nothing is sent before the first call.
std::shared_ptr<grpc::Channel> Connect(const std::string& target);

// Adds --deadline-seconds to the flags.
void AddDeadline(Options& options, std::optional<double>& seconds);
void SetDeadline(grpc::ClientContext& context, const std::optional<double>& seconds);

// Unary calls end after this time.
void SetUnaryDeadline(grpc::ClientContext& context);

// A status that is not OK, as one line.
std::string Describe(const std::string& target, const grpc::Status& status);

// Writes one line about a status that is not OK and returns the exit code: 2 for what the caller
// should change (INVALID_ARGUMENT, NOT_FOUND, …), else 1.
int Report(const std::string& command, const std::string& target, const grpc::Status& status,
           Streams& streams);

}  // namespace shardline::cli
