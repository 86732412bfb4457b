#include "gateway/prompt.h"

#include <optional>
#include <utility>

#include "gateway/field_error.h"
#include "gateway/text/jinja/variables.h"

namespace shardline {
namespace {

absl::StatusOr<Json> MessageVariable(const v1::ChatMessage& message, const std::string& field) {
  Json variable = Json::object();
  variable["role"] = message.role();
  variable["content"] = message.has_content() ? Json(message.content()) : Json(nullptr);
  if (!message.has_extra_json()) return variable;
  const std::string extra_field = Cat(field, ".extra_json");
  const absl::StatusOr<Json> extra = jinja::ParseVariables(message.extra_json());
  if (!extra.ok()) return AsFieldError(extra_field, extra.status());
  for (const auto& [key, value] : extra->items()) {
    if (key == "role" || (key == "content" && message.has_content())) {
      return FieldError(extra_field, "'", key, "' is already set by the message's own field");
    }
    variable[key] = value;
  }
  return variable;
}

// The template's variables, as transformers' apply_chat_template passes them.
absl::StatusOr<Json> TemplateVariables(const ModelText& text, const v1::ChatPrompt& chat) {
  Json variables = Json::object();
  Json messages = Json::array();
  for (int i = 0; i < chat.messages_size(); ++i) {
    SL_ASSIGN_OR_RETURN(Json message,
                        MessageVariable(chat.messages(i), Cat("chat.messages[", i, "]")));
    messages.push_back(std::move(message));
  }
  variables["messages"] = std::move(messages);
  variables["tools"] = nullptr;
  variables["documents"] = nullptr;
  variables["add_generation_prompt"] =
      !chat.has_add_generation_prompt() || chat.add_generation_prompt();
  for (const auto& [name, token] : text.template_tokens.items()) variables[name] = token;
  if (!chat.has_template_arguments_json()) return variables;
  constexpr std::string_view kField = "chat.template_arguments_json";
  const absl::StatusOr<Json> arguments = jinja::ParseVariables(chat.template_arguments_json());
  if (!arguments.ok()) return AsFieldError(kField, arguments.status());
  for (const auto& [name, value] : arguments->items()) {
    if (name == "messages" || name == "add_generation_prompt") {
      return FieldError(kField, "'", name, "' is a field of its own");
    }
    variables[name] = value;
  }
  return variables;
}

absl::StatusOr<std::vector<uint32_t>> Encode(const ModelText& text, std::string_view field,
                                             std::string_view prompt,
                                             const EncodeOptions& options) {
  if (text.tokenizer == nullptr) {
    return FieldError(field,
                      "the model has no tokenizer: it takes token_ids alone; for text, its "
                      "tokenizer.json or tokenizer.model has to be beside its weights");
  }
  auto ids = text.tokenizer->Encode(prompt, options);
  if (!ids.ok()) return AsFieldError(field, ids.status());
  return ids;
}

}  // namespace

absl::StatusOr<jinja::Rendered> RenderPrompt(
    const ModelText& text, const v1::ChatPrompt& chat, bool allow_request_templates,
    const std::optional<std::chrono::system_clock::time_point>& now) {
  if (chat.messages().empty())
    return FieldError("chat.messages", "a chat has at least one message");
  std::optional<jinja::Template> of_request;
  if (chat.has_chat_template()) {
    constexpr std::string_view kField = "chat.chat_template";
    if (!allow_request_templates) {
      return FieldError(kField, "is refused: the server runs without --allow-request-templates");
    }
    auto parsed = jinja::Template::Parse(chat.chat_template());
    if (!parsed.ok()) return AsFieldError(kField, parsed.status());
    of_request = *std::move(parsed);
  }
  SL_ASSIGN_OR_RETURN(const Json variables, TemplateVariables(text, chat));
  const jinja::Template* used = of_request.has_value() ? &*of_request : nullptr;
  if (used == nullptr && text.tool_template.has_value() && !variables["tools"].is_null()) {
    used = &*text.tool_template;
  }
  if (used == nullptr) {
    if (!text.chat_template.ok()) return AsFieldError("chat", text.chat_template.status());
    used = &*text.chat_template;
  }
  jinja::RenderOptions options;
  options.now = now;
  auto rendered = used->Render(variables, options);
  if (!rendered.ok()) return AsFieldError("chat", rendered.status());
  return rendered;
}

absl::StatusOr<std::vector<uint32_t>> EncodeText(const ModelText& text, const std::string& prompt,
                                                 SpecialTokens special) {
  EncodeOptions options;
  options.add_special_tokens = special.add;
  options.parse_special_tokens = special.parse;
  return Encode(text, "text", prompt, options);
}

// The template's own literals always become special tokens; what came from messages only if
// `parse`.
absl::StatusOr<std::vector<uint32_t>> EncodeChat(const ModelText& text,
                                                 const jinja::Rendered& rendered,
                                                 SpecialTokens special) {
  EncodeOptions options;
  options.add_special_tokens = special.add;
  options.parse_special_tokens = true;
  if (!special.parse) {
    for (const auto& range : rendered.input_ranges) {
      options.literal_ranges.push_back({range.begin, range.end});
    }
  }
  return Encode(text, "chat", rendered.text, options);
}

}  // namespace shardline
