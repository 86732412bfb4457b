#include "gateway/capabilities.h"

namespace shardline {
namespace {

constexpr double kMaxInt = 2147483647;

constexpr Parameter kParameters[] = {
    {.field = "request_id", .max_bytes = 256, .note = "empty: made by the server"},
    {.field = "model", .note = "empty: the served model"},
    {.field = "text"},
    {.field = "token_ids.ids", .note = "each below the vocabulary size"},
    {.field = "chat.messages", .max_entries = 65536},
    {.field = "chat.messages.role", .max_bytes = 256},
    {.field = "chat.messages.content", .note = "unset: none in the template"},
    {.field = "chat.messages.extra_json", .note = "a JSON object merged into the message"},
    {.field = "chat.chat_template", .note = "refused without --allow-request-templates"},
    {.field = "chat.add_generation_prompt", .note = "default true"},
    {.field = "chat.template_arguments_json", .note = "a JSON object"},
    {.field = "sampling.temperature", .min = 0, .max = 100, .note = "0 is greedy; default 1"},
    {.field = "sampling.top_p",
     .min = 0,
     .max = 1,
     .min_exclusive = true,
     .note = "default 1: off"},
    {.field = "sampling.min_p", .min = 0, .max = 1, .note = "default 0: off"},
    {.field = "sampling.typical_p",
     .min = 0,
     .max = 1,
     .min_exclusive = true,
     .note = "default 1: off"},
    {.field = "sampling.repetition_penalty",
     .min = 0,
     .max = 10,
     .min_exclusive = true,
     .note = "default 1: off"},
    {.field = "sampling.frequency_penalty", .min = -2, .max = 2, .note = "default 0: off"},
    {.field = "sampling.presence_penalty", .min = -2, .max = 2, .note = "default 0: off"},
    {.field = "sampling.top_k", .min = 0, .max = kMaxInt, .note = "0 is off, the default"},
    {.field = "sampling.repeat_last_n",
     .min = -1,
     .max = kMaxInt,
     .note = "0: none, -1: all; default 64, or -1 where the penalty is the model's own"},
    {.field = "sampling.logit_bias",
     .min = -100,
     .max = 100,
     .max_entries = 1024,
     .note = "each id below the vocabulary size"},
    {.field = "sampling.seed", .note = "unset: random, reported in accepted"},
    {.field = "stopping.max_new_tokens",
     .min = 0,
     .max = kMaxInt,
     .note = "prompt + max_new_tokens must fit the context; unset: what it still holds"},
    {.field = "stopping.min_new_tokens",
     .min = 0,
     .max = kMaxInt,
     .note = "at most max_new_tokens"},
    {.field = "stopping.stop_strings",
     .max_entries = 16,
     .min_bytes = 1,
     .max_bytes = 256,
     .note = "need a model with a tokenizer"},
    {.field = "stopping.stop_token_ids",
     .max_entries = 1024,
     .note = "each below the vocabulary size"},
    {.field = "stopping.ignore_eos", .note = "default false"},
    {.field = "stopping.include_stop", .note = "default false"},
    {.field = "logprobs.top", .min = 0, .max = 64, .note = "unset: no logprobs"},
    {.field = "logprobs.prompt", .note = "default false"},
    {.field = "n", .min = 1, .max = 128, .note = "outputs; default 1"},
    {.field = "echo", .note = "default false"},
    {.field = "truncate_prompt_tokens", .min = 1, .max = kMaxInt, .note = "keeps the last ones"},
    {.field = "add_special_tokens", .note = "default true for text, false for chat"},
    {.field = "parse_special_tokens", .note = "default true"},
    {.field = "include_special_text", .note = "default false"},
    {.field = "priority",
     .min = -kMaxInt - 1,
     .max = kMaxInt,
     .note = "higher runs first; default 0"},
    {.field = "cache_salt", .served = false, .note = "this build keeps no prefix cache"},
    {.field = "detach_seconds",
     .min = 0,
     .max = 86400,
     .note = "how long the request runs on without a reader; default 0"},
};

}  // namespace

std::span<const Parameter> Capabilities() { return kParameters; }

const Parameter* FindParameter(std::string_view field) {
  for (const Parameter& parameter : kParameters) {
    if (parameter.field == field) return &parameter;
  }
  return nullptr;
}

}  // namespace shardline
