// RenderChat: the exact text and ids that a chat prompt becomes.
#include "gateway/prompt.h"
#include "gateway/rpc/handlers.h"

namespace shardline {

absl::Status RenderChat(const Gateway& gateway, const v1::RenderChatRequest& request,
                        v1::RenderChatResponse* response) {
  SL_RETURN_IF_ERROR(CheckModel(gateway, request.model()));
  SL_ASSIGN_OR_RETURN(
      const jinja::Rendered rendered,
      RenderPrompt(gateway.text, request.chat(), gateway.settings.allow_request_templates));
  SL_ASSIGN_OR_RETURN(const std::vector<uint32_t> ids,
                      EncodeChat(gateway.text, rendered, {.add = false, .parse = true}));
  response->set_text(rendered.text);
  response->mutable_token_ids()->Add(ids.begin(), ids.end());
  return absl::OkStatus();
}

}  // namespace shardline
