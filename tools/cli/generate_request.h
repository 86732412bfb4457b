// `shardline generate`'s command line as a GenerateRequest.
#pragma once

#include <string>

#include "shardline/v1/inference.pb.h"
#include "shared/base/status.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"

namespace shardline::cli {

struct GenerateFlags {
  enum class Prompt { kChat, kText, kIds };

  std::string target;
  Prompt prompt = Prompt::kChat;
  bool json = false;
  std::string system;
  std::string template_file;
  v1::ChatPrompt chat;          // what flags say about it, without messages
  v1::GenerateRequest request;  // all but the prompt
};

// Every flag of the contract; `flags` must outlive the result.
Options GenerateOptions(GenerateFlags& flags);

// The prompt is the words joined by spaces, or all of `in` when there are none (a chat drops the
// newline at its end). Errors: InvalidArgument naming the flag that does not fit, or what is wrong
// with the text.
absl::StatusOr<v1::GenerateRequest> MakeGenerateRequest(const GenerateFlags& flags,
                                                        const Arguments& words, std::istream& in);

}  // namespace shardline::cli
