#include "tools/cli/conversation.h"

#include "tools/cli/json.h"

namespace shardline::cli {
namespace {

using Json = nlohmann::ordered_json;

v1::ChatMessage Make(const std::string& role, const std::string& text) {
  v1::ChatMessage message;
  message.set_role(role);
  message.set_content(text);
  return message;
}

absl::StatusOr<v1::ChatMessage> ReadMessage(const Json& json) {
  if (!json.is_object()) return InvalidArgument("not an object");
  v1::ChatMessage message;
  Json extra = Json::object();
  for (const auto& [key, value] : json.items()) {
    if (key == "role" && value.is_string()) {
      message.set_role(value.get<std::string>());
    } else if (key == "content" && value.is_string()) {
      message.set_content(value.get<std::string>());
    } else if (key == "role" || (key == "content" && !value.is_null())) {
      return InvalidArgument(key, " is not a text");
    } else if (key != "content") {
      extra[key] = value;
    }
  }
  if (message.role().empty()) return InvalidArgument("there is no role");
  if (!extra.empty()) message.set_extra_json(extra.dump());
  return message;
}

}  // namespace

void Conversation::SetSystem(const std::string& text) {
  if (HasSystem()) messages_.erase(messages_.begin());
  if (!text.empty()) messages_.insert(messages_.begin(), Make("system", text));
}

void Conversation::Reset() { messages_.resize(HasSystem() ? 1 : 0); }

void Conversation::Add(const std::string& role, const std::string& text) {
  messages_.push_back(Make(role, text));
}

std::string Conversation::TakeLast(const std::string& role) {
  if (messages_.empty() || messages_.back().role() != role) return "";
  std::string text = messages_.back().content();
  messages_.pop_back();
  return text;
}

void Conversation::AddTo(v1::ChatPrompt& prompt) const {
  for (const v1::ChatMessage& message : messages_) *prompt.add_messages() = message;
}

absl::StatusOr<std::string> Conversation::ToFile(const std::string& settings_json) const {
  Json file;
  file["messages"] = Json::array();
  for (const v1::ChatMessage& message : messages_) {
    Json json;
    json["role"] = message.role();
    if (message.has_content()) json["content"] = message.content();
    if (message.has_extra_json()) {
      json.update(ParseJson(message.extra_json()));
    }
    file["messages"].push_back(std::move(json));
  }
  file["settings"] = ParseJson(settings_json);
  return file.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<Conversation> Conversation::FromFile(const std::string& text,
                                                    std::string& settings_json) {
  const Json file = ParseJson(text);
  if (!file.is_object() || !file.contains("messages") || !file["messages"].is_array()) {
    return InvalidArgument("not a saved conversation: a JSON object with \"messages\" is wanted");
  }
  Conversation conversation;
  for (const Json& json : file["messages"]) {
    absl::StatusOr<v1::ChatMessage> message = ReadMessage(json);
    if (!message.ok()) {
      return Annotate(message.status(), Cat("messages[", conversation.messages_.size(), "]"));
    }
    conversation.messages_.push_back(*std::move(message));
  }
  settings_json = file.contains("settings") ? file["settings"].dump() : "{}";
  return conversation;
}

}  // namespace shardline::cli
