// A conversation's messages, and its file: {"messages": [{"role": …, "content": …}, …],
// "settings": {…}}, where the settings are a GenerateRequest's fields in protobuf's JSON.
#pragma once

#include <string>
#include <vector>

#include "shardline/v1/inference.pb.h"
#include "shared/base/status.h"

namespace shardline::cli {

class Conversation {
 public:
  // The system message stands first; an empty text takes it away.
  void SetSystem(const std::string& text);
  // Empties it but for the system message.
  void Reset();
  void Add(const std::string& role, const std::string& text);
  // Drops the last message if it is of this role; its text.
  std::string TakeLast(const std::string& role);

  const std::vector<v1::ChatMessage>& messages() const { return messages_; }
  void AddTo(v1::ChatPrompt& prompt) const;

  // A file's text, and back. Members of a message other than role and content are kept
  // (`extra_json`). Errors: InvalidArgument, what the file lacks.
  absl::StatusOr<std::string> ToFile(const std::string& settings_json) const;
  static absl::StatusOr<Conversation> FromFile(const std::string& text, std::string& settings_json);

 private:
  bool HasSystem() const { return !messages_.empty() && messages_[0].role() == "system"; }

  std::vector<v1::ChatMessage> messages_;
};

}  // namespace shardline::cli
