// What a line that begins with a slash does in `shardline chat`.
#include <cerrno>
#include <cstring>
#include <fstream>
#include <ostream>

#include "shared/base/quoted.h"
#include "tools/cli/chat.h"
#include "tools/cli/client.h"
#include "tools/cli/input.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/table.h"

namespace shardline::cli {
namespace {

std::string Trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}

// "temperature 0.5", "temperature=0.5" → its two parts.
std::pair<std::string, std::string> Split(const std::string& text) {
  const size_t at = text.find_first_of(" \t=");
  if (at == std::string::npos) return {text, ""};
  std::string value = Trimmed(text.substr(at));
  if (!value.empty() && value[0] == '=') value = Trimmed(value.substr(1));
  return {text.substr(0, at), value};
}

}  // namespace

const ChatSession::Command ChatSession::kCommands[] = {
    {"system", "TEXT", "sets the system message; without TEXT takes it away", &ChatSession::System},
    {"set", "NAME VALUE", "sets a parameter; without VALUE, or NAME, shows it, or all",
     &ChatSession::Set},
    {"unset", "NAME", "sets a parameter back to the model's own", &ChatSession::Unset},
    {"reset", "", "empties the conversation but for the system message", &ChatSession::Reset},
    {"retry", "", "asks for another answer to the last message", &ChatSession::Retry},
    {"save", "FILE", "writes the conversation and the parameters", &ChatSession::Save},
    {"load", "FILE", "reads them again", &ChatSession::Load},
    {"tokens", "", "tells how much of the context the conversation takes", &ChatSession::Tokens},
    {"help", "", "shows this", &ChatSession::Help},
    {"quit", "", "ends the conversation, as Ctrl-D does", &ChatSession::Quit},
};

void ChatSession::Obey(const std::string& line) {
  const size_t space = line.find_first_of(" \t\n");
  const std::string name = line.substr(1, space == std::string::npos ? space : space - 1);
  const std::string argument = space == std::string::npos ? "" : Trimmed(line.substr(space + 1));
  for (const Command& command : kCommands) {
    if (name != command.name) continue;
    if (*command.argument == '\0' && !argument.empty()) {
      return Error(Cat("/", name, " takes nothing behind it"), kBadInput);
    }
    (this->*command.run)(argument);
    return;
  }
  Error(Cat("unknown command ", Quoted("/" + name),
            " (/help lists them; // begins a message with a slash)"),
        kBadInput);
}

void ChatSession::System(const std::string& argument) { conversation_.SetSystem(argument); }

// Asked once; a server that does not tell has no say in /set, and refuses the request instead.
const v1::Limits& ChatSession::Limits() {
  if (!limits_) {
    grpc::ClientContext context;
    SetUnaryDeadline(context);
    const Interrupt interrupt([&context] { context.TryCancel(); }, Interrupt::Second::kIsIgnored);
    v1::GetServerInfoResponse info;
    if (!control_->GetServerInfo(&context, {}, &info).ok()) {
      static const v1::Limits kNone;
      return kNone;
    }
    limits_ = info.limits();
  }
  return *limits_;
}

void ChatSession::Set(const std::string& argument) {
  const auto [name, value] = Split(argument);
  if (name.empty()) {
    streams_.out << settings_.ShowAll();
  } else if (value.empty()) {
    const absl::StatusOr<std::string> shown = settings_.Show(name);
    if (!shown.ok()) return Error(Message(shown.status()), kBadInput);
    streams_.out << *shown << "\n";
  } else if (const absl::Status set = settings_.Set(name, value, Limits()); !set.ok()) {
    Error(Message(set), kBadInput);
  }
}

void ChatSession::Unset(const std::string& argument) {
  if (const absl::Status status = settings_.Unset(argument); !status.ok()) {
    Error(Message(status), kBadInput);
  }
}

void ChatSession::Reset(const std::string&) {
  conversation_.Reset();
  unanswered_.clear();
}

void ChatSession::Retry(const std::string&) {
  std::string message = unanswered_;
  if (message.empty()) {
    const std::string answer = conversation_.TakeLast("assistant");
    message = conversation_.TakeLast("user");
    if (message.empty()) {
      if (!answer.empty()) conversation_.Add("assistant", answer);
      return Error("nothing has been asked yet", kBadInput);
    }
  }
  conversation_.Add("user", message);
  Ask();
}

void ChatSession::Save(const std::string& path) {
  if (path.empty()) return Error("/save FILE", kBadInput);
  const absl::StatusOr<std::string> settings = settings_.Json();
  if (!settings.ok()) return Error(Message(settings.status()), kFailed);
  const absl::StatusOr<std::string> text = conversation_.ToFile(*settings);
  if (!text.ok()) return Error(Message(text.status()), kFailed);
  errno = 0;
  std::ofstream file(path, std::ios::binary);
  file << *text << std::flush;
  if (!file.good()) {
    return Error(Cat(path, ": cannot be written: ", std::strerror(errno)), kFailed);
  }
  Note(Cat("saved ", conversation_.messages().size(), " messages"));
}

void ChatSession::Load(const std::string& path) {
  if (path.empty()) return Error("/load FILE", kBadInput);
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return Error(Message(text.status()), kBadInput);
  std::string settings;
  absl::StatusOr<Conversation> loaded = Conversation::FromFile(*text, settings);
  if (!loaded.ok()) return Error(Cat(path, ": ", Message(loaded.status())), kBadInput);
  if (const absl::Status status = settings_.Replace(settings); !status.ok()) {
    return Error(Cat(path, ": settings: ", Message(status)), kBadInput);
  }
  conversation_ = *std::move(loaded);
  unanswered_.clear();
  Note(Cat("loaded ", conversation_.messages().size(), " messages"));
}

void ChatSession::Tokens(const std::string&) {
  grpc::ClientContext model_context, render_context;
  SetUnaryDeadline(model_context);
  SetUnaryDeadline(render_context);
  const Interrupt interrupt(
      [&] {
        model_context.TryCancel();
        render_context.TryCancel();
      },
      Interrupt::Second::kIsIgnored);
  v1::GetModelRequest which;
  which.set_model(settings_.request().model());
  v1::Model model;
  grpc::Status status = control_->GetModel(&model_context, which, &model);
  v1::RenderChatRequest request;
  v1::RenderChatResponse rendered;
  request.set_model(settings_.request().model());
  *request.mutable_chat() = start_.prompt;
  request.mutable_chat()->set_add_generation_prompt(false);
  conversation_.AddTo(*request.mutable_chat());
  if (status.ok() && !conversation_.messages().empty()) {
    status = inference_->RenderChat(&render_context, request, &rendered);
  }
  if (!status.ok()) return Error(Describe(start_.target, status), kFailed);
  const int tokens = rendered.token_ids_size();
  const uint32_t context = model.context_tokens();
  streams_.out << Cat(tokens, " of ", context, " tokens");
  if (context > 0) streams_.out << " (" << Fixed("%.1f %%", 100.0 * tokens / context) << ")";
  streams_.out << "\n";
}

void ChatSession::Help(const std::string&) {
  std::vector<Row> rows = {{"COMMAND", "MEANING"}};
  for (const Command& command : kCommands) {
    rows.push_back({Cat("/", command.name, *command.argument == '\0' ? "" : " ", command.argument),
                    command.summary});
  }
  WriteTable(std::move(rows), streams_.out);
  streams_.out
      << "A backslash at the end of a line goes on with the next; \"\"\" begins and ends a "
         "message of several lines.\n";
}

void ChatSession::Quit(const std::string&) { quit_ = true; }

}  // namespace shardline::cli
