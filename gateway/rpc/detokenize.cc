// Detokenize: the exact bytes of ids, and the text that a stream of them would have shown.
#include <algorithm>

#include "gateway/field_error.h"
#include "gateway/output_text.h"
#include "gateway/rpc/handlers.h"
#include "gateway/validation.h"

namespace shardline {

absl::Status Detokenize(const Gateway& gateway, const v1::DetokenizeRequest& request,
                        v1::DetokenizeResponse* response) {
  SL_RETURN_IF_ERROR(CheckModel(gateway, request.model()));
  const Tokenizer* tokenizer = gateway.text.tokenizer.get();
  if (tokenizer == nullptr) return FieldError("model", "the model has no tokenizer, so no text");
  const uint32_t vocabulary =
      std::max(tokenizer->size(), gateway.router.state().ready.header.vocabulary_size);
  SL_RETURN_IF_ERROR(CheckIds("token_ids", request.token_ids(), vocabulary));

  TextRules rules;
  rules.include_special_text = request.include_special_text();
  OutputText text(tokenizer, rules);
  for (const uint32_t id : request.token_ids()) {
    const std::string_view raw = tokenizer->Raw(id);
    response->mutable_raw()->append(raw);
    response->mutable_text()->append(text.Push(id).text);
  }
  response->mutable_text()->append(text.Finish().text);
  return absl::OkStatus();
}

}  // namespace shardline
