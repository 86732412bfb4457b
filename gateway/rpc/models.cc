// ListModels and GetModel: what is served, and what it can do.
#include <algorithm>

#include "gateway/field_error.h"
#include "gateway/rpc/handlers.h"
#include "shared/wire/model.h"

namespace shardline {
namespace {

// "generate, logprobs", as the model's family has them.
void AddCapabilities(std::string_view listed, v1::Model* model) {
  while (!listed.empty()) {
    const size_t end = std::min(listed.find(", "), listed.size());
    model->add_capabilities(std::string(listed.substr(0, end)));
    listed.remove_prefix(std::min(end + 2, listed.size()));
  }
}

void Describe(const Gateway& gateway, v1::Model* model) {
  const Router::State state = gateway.router.state();
  model->set_name(gateway.settings.model_name);
  FillModel(state.ready, model);
  model->set_ready(state.worker_ready && !state.draining);
  for (const uint32_t id : gateway.text.eos_ids) model->add_eos_token_ids(id);
  model->set_has_tokenizer(gateway.text.tokenizer != nullptr);
  model->set_has_chat_template(gateway.text.chat_template.ok());
  AddCapabilities(state.ready.capabilities, model);
  if (model->has_tokenizer()) {
    model->add_capabilities("tokenize");
    model->add_capabilities("detokenize");
  }
  if (model->has_chat_template()) {
    model->add_capabilities("chat");
    model->add_capabilities("render_chat");
  }
}

}  // namespace

absl::Status CheckModel(const Gateway& gateway, const std::string& model) {
  if (model.empty() || model == gateway.settings.model_name) return absl::OkStatus();
  return NotFound("model: this server has '", gateway.settings.model_name, "' alone, not '",
                  model.substr(0, 200), "'");
}

absl::Status TooManyLargeRequests() {
  return RetryLater(1.0, "too many large requests wait to be tokenised");
}

absl::Status ListModels(const Gateway& gateway, const v1::ListModelsRequest&,
                        v1::ListModelsResponse* response) {
  Describe(gateway, response->add_models());
  return absl::OkStatus();
}

absl::Status GetModel(const Gateway& gateway, const v1::GetModelRequest& request,
                      v1::Model* response) {
  SL_RETURN_IF_ERROR(CheckModel(gateway, request.model()));
  Describe(gateway, response);
  return absl::OkStatus();
}

}  // namespace shardline
