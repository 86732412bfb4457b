#include "tools/cli/generate_request.h"

#include <charconv>
#include <cstdint>

#include "gateway/text/utf8.h"
#include "shared/base/quoted.h"
#include "tools/cli/client.h"
#include "tools/cli/input.h"
#include "tools/cli/request_options.h"

namespace shardline::cli {
namespace {

void AddPromptOptions(Options& options, GenerateFlags& flags) {
  options.Switch("text", "the prompt is raw text, not a chat message", [&flags](bool value) {
    flags.prompt = value ? GenerateFlags::Prompt::kText : GenerateFlags::Prompt::kChat;
  });
  options.Switch(
      "ids", "the prompt is token ids, with commas or spaces between", [&flags](bool value) {
        flags.prompt = value ? GenerateFlags::Prompt::kIds : GenerateFlags::Prompt::kChat;
      });
  AddChatOptions(options, flags.chat);
  options.Switch("add-generation-prompt", "end the chat with the assistant's turn (default true)",
                 [&flags](bool value) { flags.chat.prompt.set_add_generation_prompt(value); });
}

void AddOtherOptions(Options& options, GenerateFlags& flags) {
  v1::GenerateRequest& request = flags.request;
  options.Switch("json", "print every event as a line of JSON",
                 [&flags](bool value) { flags.json = value; });
  options.OptionalNumber("logprobs",
                         "a table of log-probabilities, with so many candidates per token", 0,
                         [&request](uint32_t n) { request.mutable_logprobs()->set_top(n); });
  options.Switch("prompt-logprobs", "for the prompt too",
                 [&request](bool value) { request.mutable_logprobs()->set_prompt(value); });
  options.Switch("echo", "show the prompt first",
                 [&request](bool value) { request.set_echo(value); });
  options.Number<uint32_t>("n", "so many outputs", [&request](uint32_t n) { request.set_n(n); });
  options.Text("request-id", "ID", "default: made by the server",
               [&request](const std::string& text) { request.set_request_id(text); });
  AddDeadline(options, flags.deadline_seconds);
  options.Number<float>("detach-seconds", "how long the request outlives this program",
                        [&request](float x) { request.set_detach_seconds(x); });
  options.Text("attach", "ID", "joins the stream of a request instead of sending one",
               [&flags](const std::string& text) { flags.attach = text; });
  options.Number<uint64_t>("from-seq", "with --attach: the first event wanted (default 1: all)",
                           [&flags](uint64_t n) { flags.from_seq = n; });
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
  SL_ASSIGN_OR_RETURN(chat, flags.chat.Read());
  if (!flags.chat.system.empty()) {
    v1::ChatMessage& system = *chat.add_messages();
    system.set_role("system");
    system.set_content(flags.chat.system);
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
  AddPlacementOptions(options, flags.request);
  AddOtherOptions(options, flags);
  return options;
}

absl::StatusOr<v1::GenerateRequest> MakeGenerateRequest(const GenerateFlags& flags,
                                                        const Arguments& words, std::istream& in) {
  using Prompt = GenerateFlags::Prompt;
  const bool chat_flags = !flags.chat.system.empty() || !flags.chat.template_file.empty() ||
                          flags.chat.prompt.has_template_arguments_json() ||
                          flags.chat.prompt.has_add_generation_prompt();
  if (flags.prompt != Prompt::kChat && chat_flags) {
    return InvalidArgument("--system and the template's flags are for chats, not for ",
                           flags.prompt == Prompt::kText ? "--text" : "--ids");
  }
  if (flags.from_seq) return InvalidArgument("--from-seq goes with --attach");
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

absl::StatusOr<v1::AttachRequest> MakeAttachRequest(const GenerateFlags& flags,
                                                    const Arguments& words) {
  v1::GenerateRequest rest = flags.request;
  const bool chat_flags = !flags.chat.system.empty() || !flags.chat.template_file.empty() ||
                          flags.chat.prompt.ByteSizeLong() > 0;
  rest.clear_logprobs();  // tells how to show what comes
  if (!words.empty() || chat_flags || rest.ByteSizeLong() > 0 ||
      flags.prompt != GenerateFlags::Prompt::kChat) {
    return InvalidArgument(
        "--attach joins a request that was sent: it takes no prompt and none of its parameters");
  }
  v1::AttachRequest request;
  request.set_request_id(flags.attach);
  request.set_from_seq(flags.from_seq.value_or(1));
  return request;
}

}  // namespace shardline::cli
