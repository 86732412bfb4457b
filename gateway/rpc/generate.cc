// Generate's way to `accepted`, top to bottom. What follows is the router's; rpc/stream_call.cc
// writes it out.
#include <sys/random.h>

#include "gateway/field_error.h"
#include "gateway/prompt.h"
#include "gateway/rpc/handlers.h"
#include "gateway/validation.h"
#include "shared/base/clock.h"

namespace shardline {
namespace {

uint64_t Random64() {
  uint64_t value = 0;
  while (getrandom(&value, sizeof(value), 0) != sizeof(value)) {
  }
  return value;
}

// 128 random bits, so that nobody guesses another's request.
std::string RandomId() {
  char text[33];
  std::snprintf(text, sizeof(text), "%016llx%016llx", static_cast<unsigned long long>(Random64()),
                static_cast<unsigned long long>(Random64()));
  return text;
}

// The request's field that errors about its prompt name.
std::string_view PromptField(const v1::GenerateRequest& request) {
  if (request.has_text()) return "text";
  return request.has_chat() ? "chat" : "token_ids";
}

absl::StatusOr<std::vector<uint32_t>> PromptIds(const Gateway& gateway,
                                                const v1::GenerateRequest& request,
                                                uint32_t vocabulary_size) {
  if (request.has_token_ids()) {
    const auto& ids = request.token_ids().ids();
    SL_RETURN_IF_ERROR(CheckIds("token_ids.ids", ids, vocabulary_size));
    return std::vector<uint32_t>(ids.begin(), ids.end());
  }
  const SpecialTokens special = SpecialTokensOf(request);
  std::vector<uint32_t> ids;
  if (request.has_text()) {
    SL_ASSIGN_OR_RETURN(ids, EncodeText(gateway.text, request.text(), special));
  } else {
    SL_ASSIGN_OR_RETURN(
        const jinja::Rendered rendered,
        RenderPrompt(gateway.text, request.chat(), gateway.settings.allow_request_templates));
    SL_ASSIGN_OR_RETURN(ids, EncodeChat(gateway.text, rendered, special));
  }
  for (const uint32_t id : ids) {
    if (id < vocabulary_size) continue;
    return FieldError(PromptField(request), "the tokenizer's id ", id,
                      " is not below the model's vocabulary size ", vocabulary_size);
  }
  return ids;
}

// Refuses what no tokenizer makes short enough before megabytes are tokenised: more bytes than
// sixteen times what the context's tokens can stand for.
absl::Status CheckTextSize(const Gateway& gateway, const v1::GenerateRequest& request,
                           uint32_t context_tokens) {
  if (!request.has_text() || request.has_truncate_prompt_tokens()) return absl::OkStatus();
  const uint64_t most = 16 * (uint64_t{context_tokens} + 1) * gateway.text.longest_token_bytes;
  if (request.text().size() <= most || most == 0) return absl::OkStatus();
  return FieldError("text", "the prompt has ", request.text().size(),
                    " bytes, far more than the model's context of ", context_tokens,
                    " tokens holds");
}

TextRules TextRulesOf(const v1::GenerateRequest& request) {
  TextRules rules;
  rules.stop_strings.assign(request.stopping().stop_strings().begin(),
                            request.stopping().stop_strings().end());
  rules.min_new_tokens = request.stopping().min_new_tokens();
  rules.include_special_text = request.include_special_text();
  rules.include_stop = request.stopping().include_stop();
  return rules;
}

absl::StatusOr<Admission> Prepare(const Gateway& gateway, const v1::GenerateRequest& request,
                                  const CallFacts& call) {
  SL_RETURN_IF_ERROR(CheckModel(gateway, request.model()));
  SL_RETURN_IF_ERROR(CheckFields(request));
  const Router::State state = gateway.router.state();
  if (!state.worker_ready) return Unavailable("no worker is serving: it is starting, retry");
  const ModelFacts model{.vocabulary_size = state.ready.header.vocabulary_size,
                         .context_tokens = state.ready.header.context_tokens,
                         .has_tokenizer = gateway.text.tokenizer != nullptr,
                         .eos_ids = gateway.text.eos_ids,
                         .defaults = gateway.text.defaults};
  SL_RETURN_IF_ERROR(CheckTextSize(gateway, request, model.context_tokens));
  SL_ASSIGN_OR_RETURN(std::vector<uint32_t> prompt,
                      PromptIds(gateway, request, model.vocabulary_size));
  Admission admission;
  SL_ASSIGN_OR_RETURN(admission.submit,
                      Resolve(request, std::move(prompt), PromptField(request), model));
  if (!request.sampling().has_seed()) admission.submit.header.sampling.seed = Random64();
  admission.id = request.request_id().empty() ? RandomId() : request.request_id();
  admission.model = gateway.settings.model_name;
  admission.text = TextRulesOf(request);
  admission.echo = request.echo();
  admission.detach_ns = static_cast<uint64_t>(double{request.detach_seconds()} * 1e9);
  // What may outlive its call is not bound to the call's deadline either.
  admission.deadline_ns = admission.detach_ns > 0 ? 0 : call.deadline_ns;
  admission.parent = ParseTraceparent(call.traceparent);
  return admission;
}

}  // namespace

absl::StatusOr<std::shared_ptr<LiveRequest>> StartGenerate(const Gateway& gateway,
                                                           const v1::GenerateRequest& request,
                                                           const CallFacts& call) {
  const uint64_t begin = gateway.trace == nullptr ? 0 : MonotonicNanoseconds();
  const auto start = [&]() -> absl::StatusOr<std::shared_ptr<LiveRequest>> {
    SL_ASSIGN_OR_RETURN(Admission admission, Prepare(gateway, request, call));
    return gateway.router.Admit(std::move(admission));
  };
  auto live = start();
  if (!live.ok()) gateway.metrics.Rejected();
  if (gateway.trace != nullptr) {
    TraceArguments arguments;
    if (live.ok()) arguments.Add("request_id", (*live)->id).Add("key", (*live)->key);
    gateway.trace->Span(live.ok() ? "prepare" : "refuse", begin, MonotonicNanoseconds(), arguments);
  }
  return live;
}

}  // namespace shardline
