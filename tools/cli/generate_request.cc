#include "tools/cli/generate_request.h"

#include <charconv>
#include <cstdint>

#include "gateway/text/utf8.h"
#include "shared/base/quoted.h"
#include "tools/cli/client.h"
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

void AddPromptOptions(Options& options, GenerateFlags& flags) {
  v1::GenerateRequest& request = flags.request;
  options.Switch("text", "the prompt is raw text, not a chat message", [&flags](bool value) {
    flags.prompt = value ? GenerateFlags::Prompt::kText : GenerateFlags::Prompt::kChat;
  });
  options.Switch(
      "ids", "the prompt is token ids, with commas or spaces between", [&flags](bool value) {
        flags.prompt = value ? GenerateFlags::Prompt::kIds : GenerateFlags::Prompt::kChat;
      });
  options.Text("system", "TEXT", "a system message in front of the chat",
               [&flags](const std::string& text) { flags.system = text; });
  options.Text("chat-template", "FILE", "a template of your own (the server must allow it)",
               [&flags](const std::string& text) { flags.template_file = text; });
  options.Text("template-arguments", "JSON", "an object of template variables: tools, documents, …",
               [&flags](const std::string& text) { flags.chat.set_template_arguments_json(text); });
  options.Switch("add-generation-prompt", "end the chat with the assistant's turn (default true)",
                 [&flags](bool value) { flags.chat.set_add_generation_prompt(value); });
  options.Number<uint32_t>("truncate-prompt-tokens", "keep the last N prompt tokens",
                           [&request](uint32_t n) { request.set_truncate_prompt_tokens(n); });
  options.Switch("add-special-tokens", "BOS and EOS as the vocabulary wants them",
                 [&request](bool value) { request.set_add_special_tokens(value); });
  options.Switch("parse-special-tokens", "special tokens in the prompt become their ids",
                 [&request](bool value) { request.set_parse_special_tokens(value); });
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
  options.Text("stop", "TEXT", "ends the output; may be repeated",
               [=](const std::string& text) { stopping().add_stop_strings(text); });
  options.Number<uint32_t>("stop-token-id", "ends the output; may be repeated",
                           [=](uint32_t n) { stopping().add_stop_token_ids(n); });
  options.Switch("ignore-eos", "EOS does not stop",
                 [=](bool value) { stopping().set_ignore_eos(value); });
  options.Switch("include-stop", "show what stopped the output",
                 [=](bool value) { stopping().set_include_stop(value); });
}

void AddOtherOptions(Options& options, GenerateFlags& flags) {
  v1::GenerateRequest& request = flags.request;
  options.Switch("json", "print every event as a line of JSON",
                 [&flags](bool value) { flags.json = value; });
  options.Number<uint32_t>("logprobs", "so many likeliest candidates per token (needs --json)",
                           [&request](uint32_t n) { request.mutable_logprobs()->set_top(n); });
  options.Switch("prompt-logprobs", "for the prompt too (needs --json)",
                 [&request](bool value) { request.mutable_logprobs()->set_prompt(value); });
  options.Switch("echo", "show the prompt first",
                 [&request](bool value) { request.set_echo(value); });
  options.Switch("include-special-text", "show special tokens",
                 [&request](bool value) { request.set_include_special_text(value); });
  options.Number<uint32_t>("n", "so many outputs", [&request](uint32_t n) { request.set_n(n); });
  options.Text("model", "NAME", "default: the served model",
               [&request](const std::string& text) { request.set_model(text); });
  options.Text("request-id", "ID", "default: made by the server",
               [&request](const std::string& text) { request.set_request_id(text); });
  options.Number<int32_t>("priority", "higher runs first",
                          [&request](int32_t n) { request.set_priority(n); });
  options.Text("cache-salt", "TEXT", "shares cached prompts with equal salts alone",
               [&request](const std::string& text) { request.set_cache_salt(text); });
  options.Number<float>("detach-seconds", "how long the request outlives this program",
                        [&request](float x) { request.set_detach_seconds(x); });
}

absl::Status ReadIds(const std::string& text, v1::TokenIds& ids) {
  const char* at = text.data();
  const char* end = at + text.size();
  while (at != end) {
    if (*at == ',' || *at == ' ' || *at == '\n' || *at == '\t' || *at == '\r') {
      ++at;
      continue;
    }
    uint32_t id = 0;
    const auto [read, error] = std::from_chars(at, end, id);
    if (error != std::errc()) {
      return InvalidArgument("--ids: no token id at ",
                             Quoted({at, static_cast<size_t>(end - at)}, 20));
    }
    ids.add_ids(id);
    at = read;
  }
  return absl::OkStatus();
}

absl::Status FillChat(const GenerateFlags& flags, std::string text, v1::ChatPrompt& chat) {
  chat = flags.chat;
  if (!flags.template_file.empty()) {
    const absl::StatusOr<std::string> source = ReadFile(flags.template_file);
    if (!source.ok()) return Annotate(source.status(), "--chat-template");
    chat.set_chat_template(*source);
  }
  if (!flags.system.empty()) {
    v1::ChatMessage& system = *chat.add_messages();
    system.set_role("system");
    system.set_content(flags.system);
  }
  v1::ChatMessage& user = *chat.add_messages();
  user.set_role("user");
  user.set_content(std::move(text));
  return absl::OkStatus();
}

}  // namespace

Options GenerateOptions(GenerateFlags& flags) {
  Options options(
      "generate", "generate [flags] [PROMPT …]",
      "Asks a server and streams the answer. Without PROMPT, it is read from standard input.");
  AddTarget(options, flags.target);
  AddPromptOptions(options, flags);
  AddSamplingOptions(options, flags.request);
  AddStoppingOptions(options, flags.request);
  AddOtherOptions(options, flags);
  return options;
}

absl::StatusOr<v1::GenerateRequest> MakeGenerateRequest(const GenerateFlags& flags,
                                                        const Arguments& words, std::istream& in) {
  using Prompt = GenerateFlags::Prompt;
  const bool chat_flags = !flags.system.empty() || !flags.template_file.empty() ||
                          flags.chat.has_template_arguments_json() ||
                          flags.chat.has_add_generation_prompt();
  if (flags.prompt != Prompt::kChat && chat_flags) {
    return InvalidArgument("--system and the template's flags are for chats, not for ",
                           flags.prompt == Prompt::kText ? "--text" : "--ids");
  }
  if (flags.request.has_logprobs() && !flags.json) {
    return InvalidArgument("--logprobs and --prompt-logprobs need --json, which shows them");
  }
  std::string text;
  for (const std::string& word : words) {
    if (&word != &words[0]) text += ' ';
    text += word;
  }
  if (words.empty()) {
    SL_ASSIGN_OR_RETURN(text, ReadAll(in));
    if (flags.prompt == Prompt::kChat && !text.empty() && text.back() == '\n') text.pop_back();
  }
  if (!IsWellFormedUtf8(text)) return InvalidArgument("the prompt is not UTF-8");
  v1::GenerateRequest request = flags.request;
  switch (flags.prompt) {
    case Prompt::kText:
      request.set_text(std::move(text));
      break;
    case Prompt::kIds:
      SL_RETURN_IF_ERROR(ReadIds(text, *request.mutable_token_ids()));
      break;
    case Prompt::kChat:
      SL_RETURN_IF_ERROR(FillChat(flags, std::move(text), *request.mutable_chat()));
      break;
  }
  return request;
}

}  // namespace shardline::cli
