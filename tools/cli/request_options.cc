#include "tools/cli/request_options.h"

#include <charconv>
#include <cstdint>

#include "gateway/text/utf8.h"
#include "shared/base/quoted.h"
#include "tools/cli/input.h"

namespace shardline::cli {
namespace {

// "ID=VALUE"
absl::Status AddBias(const std::string& text, v1::SamplingParams& sampling) {
  const char* end = text.data() + text.size();
  uint32_t id = 0;
  float bias = 0;
  const auto [equals, id_error] = std::from_chars(text.data(), end, id);
  if (id_error == std::errc() && equals != end && *equals == '=') {
    const auto [read, error] = std::from_chars(equals + 1, end, bias);
    if (error == std::errc() && read == end) {
      (*sampling.mutable_logit_bias())[id] = bias;
      return absl::OkStatus();
    }
  }
  return InvalidArgument(Quoted(text), " is not ID=VALUE");
}

}  // namespace

absl::StatusOr<v1::ChatPrompt> ChatFlags::Read() const {
  v1::ChatPrompt chat = prompt;
  if (!template_file.empty()) {
    absl::StatusOr<std::string> source = ReadFile(template_file);
    if (!source.ok()) return Annotate(source.status(), "--chat-template");
    if (!IsWellFormedUtf8(*source)) return InvalidArgument("--chat-template: not UTF-8");
    chat.set_chat_template(*std::move(source));
  }
  return chat;
}

void AddChatOptions(Options& options, ChatFlags& chat) {
  options.Parsed("system", "TEXT", "a system message in front of the chat",
                 [&chat](const std::string& text) -> absl::Status {
                   if (!IsWellFormedUtf8(text)) return InvalidArgument("not UTF-8");
                   chat.system = text;
                   return absl::OkStatus();
                 });
  options.Text("chat-template", "FILE", "a template of your own (the server must allow it)",
               [&chat](const std::string& text) { chat.template_file = text; });
  options.Parsed("template-arguments", "JSON",
                 "an object of template variables: tools, documents, …",
                 [&chat](const std::string& text) -> absl::Status {
                   if (!IsWellFormedUtf8(text)) return InvalidArgument("not UTF-8");
                   chat.prompt.set_template_arguments_json(text);
                   return absl::OkStatus();
                 });
}

void AddSamplingOptions(Options& options, v1::GenerateRequest& request) {
  auto sampling = [&request]() -> v1::SamplingParams& { return *request.mutable_sampling(); };
  options.Number<float>("temperature", "0 is greedy",
                        [=](float x) { sampling().set_temperature(x); });
  options.Number<uint32_t>("top-k", "0 is off", [=](uint32_t n) { sampling().set_top_k(n); });
  options.Number<float>("top-p", "in (0, 1]", [=](float x) { sampling().set_top_p(x); });
  options.Number<float>("min-p", "0 to 1", [=](float x) { sampling().set_min_p(x); });
  options.Number<float>("typical-p", "in (0, 1]", [=](float x) { sampling().set_typical_p(x); });
  options.Number<float>("repetition-penalty", "in (0, 10]; 1 is off",
                        [=](float x) { sampling().set_repetition_penalty(x); });
  options.Number<int32_t>("repeat-last-n", "its window: 0 none, -1 all, default 64",
                          [=](int32_t n) { sampling().set_repeat_last_n(n); });
  options.Number<float>("frequency-penalty", "-2 to 2",
                        [=](float x) { sampling().set_frequency_penalty(x); });
  options.Number<float>("presence-penalty", "-2 to 2",
                        [=](float x) { sampling().set_presence_penalty(x); });
  options.Parsed("logit-bias", "ID=X", "added to a token's logit; may be repeated",
                 [=](const std::string& text) { return AddBias(text, sampling()); });
  options.Number<uint64_t>("seed", "makes the draw repeatable",
                           [=](uint64_t n) { sampling().set_seed(n); });
}

void AddStoppingOptions(Options& options, v1::GenerateRequest& request) {
  auto stopping = [&request]() -> v1::StoppingParams& { return *request.mutable_stopping(); };
  options.Number<uint32_t>("max-new-tokens", "default: what the context holds",
                           [=](uint32_t n) { stopping().set_max_new_tokens(n); });
  options.Number<uint32_t>("min-new-tokens", "nothing stops the output before",
                           [=](uint32_t n) { stopping().set_min_new_tokens(n); });
  options.Parsed("stop", "TEXT", "ends the output; may be repeated",
                 [=](const std::string& text) -> absl::Status {
                   if (!IsWellFormedUtf8(text)) return InvalidArgument("not UTF-8");
                   stopping().add_stop_strings(text);
                   return absl::OkStatus();
                 });
  options.Number<uint32_t>("stop-token-id", "ends the output; may be repeated",
                           [=](uint32_t n) { stopping().add_stop_token_ids(n); });
  options.Switch("ignore-eos", "EOS does not stop",
                 [=](bool value) { stopping().set_ignore_eos(value); });
  options.Switch("include-stop", "show what stopped the output",
                 [=](bool value) { stopping().set_include_stop(value); });
}

void AddPlacementOptions(Options& options, v1::GenerateRequest& request) {
  options.Text("model", "NAME", "default: the served model",
               [&request](const std::string& text) { request.set_model(text); });
  options.Number<uint32_t>("truncate-prompt-tokens", "keep the last N prompt tokens",
                           [&request](uint32_t n) { request.set_truncate_prompt_tokens(n); });
  options.Switch("add-special-tokens", "BOS and EOS as the vocabulary wants them",
                 [&request](bool value) { request.set_add_special_tokens(value); });
  options.Switch("parse-special-tokens", "special tokens in the prompt become their ids",
                 [&request](bool value) { request.set_parse_special_tokens(value); });
  options.Switch("include-special-text", "show special tokens",
                 [&request](bool value) { request.set_include_special_text(value); });
  options.Number<int32_t>("priority", "higher runs first",
                          [&request](int32_t n) { request.set_priority(n); });
  options.Text("cache-salt", "TEXT", "shares cached prompts with equal salts alone",
               [&request](const std::string& text) { request.set_cache_salt(text); });
}

}  // namespace shardline::cli
