// The flags of a request's parameters, which `generate` and `chat` share; in a chat, /set knows
// them by the same names.
#pragma once

#include <string>

#include "shardline/v1/inference.pb.h"
#include "shared/base/status.h"
#include "tools/cli/options.h"

namespace shardline::cli {

// What flags say about a chat, without its messages.
struct ChatFlags {
  std::string system;
  std::string template_file;
  v1::ChatPrompt prompt;

  // `prompt` with the template from its file.
  absl::StatusOr<v1::ChatPrompt> Read() const;
};
void AddChatOptions(Options& options, ChatFlags& chat);

// Each flag sets its field of `request`, which must outlive `options`.
void AddSamplingOptions(Options& options, v1::GenerateRequest& request);
void AddStoppingOptions(Options& options, v1::GenerateRequest& request);
// How the prompt becomes tokens, its place in the queue, and what of the answer shows.
void AddPlacementOptions(Options& options, v1::GenerateRequest& request);

}  // namespace shardline::cli
