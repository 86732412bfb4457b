// The parameters that a chat's requests share, by the names of the flags: /set and /unset change
// them, /save and /load keep them.
#pragma once

#include <string>
#include <string_view>

#include "shardline/v1/control.pb.h"
#include "shardline/v1/inference.pb.h"
#include "shared/base/status.h"
#include "tools/cli/options.h"

namespace shardline::cli {

class ChatSettings {
 public:
  ChatSettings();
  ChatSettings(const ChatSettings&) = delete;
  ChatSettings& operator=(const ChatSettings&) = delete;

  // Adds the flags that set start values.
  void AddOptions(Options& options);

  // A text may be a JSON string ("\n"). What may be given several times is added to. `limits` (what
  // the server enforces; may be empty) is checked too. Errors: one line that lists the names;
  // nothing has changed.
  absl::Status Set(std::string_view name, const std::string& value, const v1::Limits& limits);
  // Back to the model's own.
  absl::Status Unset(std::string_view name);
  // "temperature  0.7"; every name without one.
  absl::StatusOr<std::string> Show(std::string_view name) const;
  std::string ShowAll() const;

  // Without a prompt.
  const v1::GenerateRequest& request() const { return request_; }
  // Takes everything but the model's name. Error: InvalidArgument; nothing has changed.
  absl::Status Replace(const std::string& json);
  // The same as one line of JSON.
  absl::StatusOr<std::string> Json() const;

 private:
  absl::Status Unknown(std::string_view name) const;

  v1::GenerateRequest request_;
  Options options_;
};

}  // namespace shardline::cli
