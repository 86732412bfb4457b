// Prompts to token ids: rendering chats, tokenising, and the errors that name the request's field.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/model_text.h"
#include "shardline/v1/inference.pb.h"

namespace shardline {

// `allow_request_templates`: --allow-request-templates. `now`: what a template's strftime_now()
// formats, the clock when empty. Errors: FieldError naming "chat…".
absl::StatusOr<jinja::Rendered> RenderPrompt(
    const ModelText& text, const v1::ChatPrompt& chat, bool allow_request_templates,
    const std::optional<std::chrono::system_clock::time_point>& now = std::nullopt);

struct SpecialTokens {
  bool add;
  bool parse;
};

// Errors: FieldError naming "text" or "chat".
absl::StatusOr<std::vector<uint32_t>> EncodeText(const ModelText& text, const std::string& prompt,
                                                 SpecialTokens special);
absl::StatusOr<std::vector<uint32_t>> EncodeChat(const ModelText& text,
                                                 const jinja::Rendered& rendered,
                                                 SpecialTokens special);

// GenerateRequest's and TokenizeRequest's rule: add_special_tokens defaults to true for text and
// false for chat, parse_special_tokens to true.
template <typename Request>
SpecialTokens SpecialTokensOf(const Request& request) {
  return {.add = request.has_add_special_tokens() ? request.add_special_tokens()
                                                  : request.prompt_case() == Request::kText,
          .parse = !request.has_parse_special_tokens() || request.parse_special_tokens()};
}

}  // namespace shardline
