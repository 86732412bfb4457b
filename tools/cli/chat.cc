// shardline chat: the loop that reads and answers. Its commands are in chat_commands.cc.
#include "tools/cli/chat.h"

#include <ostream>

#include "gateway/text/utf8.h"
#include "tools/cli/answer.h"
#include "tools/cli/client.h"
#include "tools/cli/input.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/options.h"
#include "tools/cli/request_options.h"
#include "tools/cli/table.h"
#include "tools/cli/terminal.h"

namespace shardline::cli {
namespace {

constexpr std::string_view kFence = "\"\"\"";

bool EndsWithFence(std::string_view line) {
  return line.size() >= kFence.size() && line.substr(line.size() - kFence.size()) == kFence;
}

}  // namespace

ChatSession::ChatSession(ChatStart start, ChatSettings& settings, Streams& streams)
    : start_(std::move(start)),
      settings_(settings),
      streams_(streams),
      interactive_(IsTerminal(streams.in)),
      terminal_(IsTerminal(streams.out)),
      colours_(interactive_ && WantsColours(streams.out)),
      lines_(interactive_ ? EditedLines(terminal_, colours_) : PipedLines(streams.in)) {
  const std::shared_ptr<grpc::Channel> channel = Connect(start_.target);
  inference_ = v1::Inference::NewStub(channel);
  control_ = v1::Control::NewStub(channel);
  conversation_.SetSystem(start_.system);
}

int ChatSession::Run() {
  if (interactive_) Note("/help lists the commands, Ctrl-D ends the conversation");
  std::string message;
  bool block = false;
  while (!quit_ && ReadMessage(message, block)) {
    if (message.find_first_not_of(" \t\r\n") == std::string::npos) continue;
    if (!IsWellFormedUtf8(message)) {
      Error("the message is not UTF-8", kBadInput);
    } else if (!block && message[0] == '/' && message.rfind("//", 0) != 0) {
      Obey(message);
    } else {
      // Two slashes: a message that begins with one.
      conversation_.Add("user", !block && message[0] == '/' ? message.substr(1) : message);
      Ask();
    }
    if (!streams_.out.good()) return kFailed;
  }
  return code_;
}

LineEnd ChatSession::ReadPart(const char* prompt, std::string& line) {
  streams_.out.flush();
  const LineEnd end = lines_->Next(prompt, line);
  if (interactive_ && end != LineEnd::kLine) streams_.out << "\n";
  if (end == LineEnd::kInterrupt) {
    quit_ = ++interrupts_ > 1;
    if (!quit_) Note("Ctrl-C again, or Ctrl-D, ends the conversation");
  } else {
    interrupts_ = 0;
    quit_ = end != LineEnd::kLine;
  }
  if (end == LineEnd::kTerminate) code_ = kInterrupted;
  if (end == LineEnd::kTooLong) {
    Error(Cat("a line of more than ", kMaxInputBytes, " bytes"), kBadInput);
  }
  return end;
}

bool ChatSession::ReadMessage(std::string& message, bool& block) {
  message.clear();
  std::string line;
  if (ReadPart("> ", line) != LineEnd::kLine) return !quit_;
  block = line.rfind(kFence, 0) == 0;
  if (block) line.erase(0, kFence.size());
  for (bool first = true;; first = false) {
    const bool fenced = block && EndsWithFence(line);
    const bool more = block ? !fenced : !line.empty() && line.back() == '\\';
    if (fenced) line.resize(line.size() - kFence.size());
    if (more && !block) line.pop_back();
    // A fence may stand alone on its line, which is then no line of the message.
    const bool alone = line.empty() && (fenced || (block && first));
    if (!alone) message += line + '\n';
    if (!more) break;
    if (message.size() > kMaxInputBytes) {
      Error(Cat("a message of more than ", kMaxInputBytes, " bytes"), kBadInput);
      quit_ = true;
      return false;
    }
    const LineEnd end = ReadPart(". ", line);
    if (end == LineEnd::kEnd) break;
    if (end != LineEnd::kLine) {
      message.clear();
      return !quit_;
    }
  }
  if (!message.empty()) message.pop_back();
  return true;
}

grpc::Status ChatSession::Stream(Answer& answer, std::string& text, bool& interrupted) {
  v1::GenerateRequest request = settings_.request();
  *request.mutable_chat() = start_.prompt;
  conversation_.AddTo(*request.mutable_chat());
  grpc::ClientContext context;
  SetDeadline(context, start_.deadline_seconds);
  Interrupt interrupt([&context] { context.TryCancel(); }, Interrupt::Second::kIsIgnored);
  const auto stream = inference_->Generate(&context, request);
  v1::GenerateEvent event;
  while (stream->Read(&event)) {
    answer.Take(event, Answer::Clock::now());
    if (event.has_tokens()) text += event.tokens().text();
    if (!streams_.out.good()) context.TryCancel();  // nobody reads on
  }
  const grpc::Status status = stream->Finish();
  interrupted = interrupt.happened();
  if (interrupt.terminated()) {
    code_ = kInterrupted;
    quit_ = true;
  }
  return status;
}

void ChatSession::Ask() {
  Answer answer({.terminal = terminal_}, streams_.out, Answer::Clock::now());
  std::string text;
  bool interrupted = false;
  const grpc::Status status = Stream(answer, text, interrupted);
  answer.Close();
  const bool whole = answer.complete();
  if (whole || (interrupted && !text.empty())) {
    conversation_.Add("assistant", text);
    unanswered_.clear();
  } else {
    GiveBack();
  }
  if (interrupted && !whole) {
    Note(Cat("stopped after ", answer.Tokens(), text.empty() ? "; /retry asks again" : ""));
  } else if (!status.ok() && !whole) {
    Error(Describe(start_.target, status), kFailed);
  } else if (!answer.error().empty()) {
    Error(answer.error(), kFailed);
  } else if (!whole) {
    Error("the server ended the stream too early", kFailed);
  } else {
    std::string line = answer.Tokens();
    if (const auto rate = answer.Rate()) line += Cat(", ", Fixed("%.1f", *rate), " tok/s");
    if (answer.reasons() != "eos") line += Cat(", ", answer.reasons());
    Note(line);
  }
}

void ChatSession::GiveBack() { unanswered_ = conversation_.TakeLast("user"); }

void ChatSession::Error(const std::string& text, int code) {
  if (!interactive_ && code_ != kInterrupted) code_ = code;
  const bool coloured = colours_ && WantsColours(streams_.err);
  if (coloured) streams_.err << "\033[31m";
  Fail(streams_, "chat", text);
  if (coloured) streams_.err << "\033[0m" << std::flush;
}

void ChatSession::Note(const std::string& text) {
  if (!terminal_ || !interactive_) return;
  streams_.out << (colours_ ? Cat("\033[2m", text, "\033[0m") : text) << std::endl;
}

int Chat(const Arguments& arguments, Streams& streams) {
  ChatStart start;
  ChatFlags chat;
  ChatSettings settings;
  Options options("chat", "chat [flags]",
                  "Talks with a model: one message for each line of standard input, or several\n"
                  "lines that end with a backslash or stand between \"\"\" and \"\"\". /help lists "
                  "the commands.");
  AddTarget(options, start.target);
  AddChatOptions(options, chat);
  settings.AddOptions(options);
  AddDeadline(options, start.deadline_seconds);
  std::optional<int> end;
  const Arguments rest = options.Parse(arguments, streams, end);
  if (end) return *end;
  if (!rest.empty()) {
    return Fail(streams, "chat", "what is said comes from standard input, not from arguments");
  }
  absl::StatusOr<v1::ChatPrompt> prompt = chat.Read();
  if (!prompt.ok()) return Fail(streams, "chat", Message(prompt.status()));
  start.prompt = *std::move(prompt);
  start.system = chat.system;
  const SignalsHeld held;  // before the channel starts threads
  return ChatSession(std::move(start), settings, streams).Run();
}

}  // namespace shardline::cli
