// `shardline generate`'s command line as a GenerateRequest or an AttachRequest.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "shardline/v1/inference.pb.h"
#include "shared/base/status.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/request_options.h"

namespace shardline::cli {

struct GenerateFlags {
  enum class Prompt { kChat, kText, kIds };

  std::string target;
  Prompt prompt = Prompt::kChat;
  bool json = false;
  std::optional<double> deadline_seconds;
  std::string attach;  // empty: a request is sent
  std::optional<uint64_t> from_seq;
  ChatFlags chat;
  v1::GenerateRequest request;  // all but the prompt
};

// Every flag of the contract; `flags` must outlive the result.
Options GenerateOptions(GenerateFlags& flags);

// The prompt is the words joined by spaces, or all of `in` when there are none (a chat drops the
// newline at its end). Errors: InvalidArgument naming the flag that does not fit, or what is wrong
// with the text.
absl::StatusOr<v1::GenerateRequest> MakeGenerateRequest(const GenerateFlags& flags,
                                                        const Arguments& words, std::istream& in);

// With --attach. Error: InvalidArgument when something of a new request is there too.
absl::StatusOr<v1::AttachRequest> MakeAttachRequest(const GenerateFlags& flags,
                                                    const Arguments& words);

}  // namespace shardline::cli
