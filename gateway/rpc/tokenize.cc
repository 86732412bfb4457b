// Tokenize: the ids that Generate would see for the same prompt.
#include "gateway/field_error.h"
#include "gateway/prompt.h"
#include "gateway/rpc/handlers.h"

namespace shardline {

absl::Status Tokenize(const Gateway& gateway, const v1::TokenizeRequest& request,
                      v1::TokenizeResponse* response) {
  SL_RETURN_IF_ERROR(CheckModel(gateway, request.model()));
  const SpecialTokens special = SpecialTokensOf(request);
  std::vector<uint32_t> ids;
  switch (request.prompt_case()) {
    case v1::TokenizeRequest::kText: {
      SL_ASSIGN_OR_RETURN(ids, EncodeText(gateway.text, request.text(), special));
      break;
    }
    case v1::TokenizeRequest::kChat: {
      SL_ASSIGN_OR_RETURN(
          const jinja::Rendered rendered,
          RenderPrompt(gateway.text, request.chat(), gateway.settings.allow_request_templates));
      SL_ASSIGN_OR_RETURN(ids, EncodeChat(gateway.text, rendered, special));
      break;
    }
    case v1::TokenizeRequest::PROMPT_NOT_SET:
      return FieldError("prompt", "one of text and chat must be set");
  }
  for (const uint32_t id : ids) {
    response->add_token_ids(id);
    const std::string_view raw = gateway.text.tokenizer->Raw(id);
    response->add_raw(raw.data(), raw.size());
  }
  return absl::OkStatus();
}

}  // namespace shardline
