// One session of `shardline chat`: reads what is said to it, answers by the server, and carries the
// conversation and its settings from turn to turn.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shardline/v1/control.grpc.pb.h"
#include "shardline/v1/inference.grpc.pb.h"
#include "tools/cli/chat_settings.h"
#include "tools/cli/commands.h"
#include "tools/cli/conversation.h"
#include "tools/cli/line_source.h"

namespace shardline::cli {

struct ChatStart {
  std::string target;
  std::optional<double> deadline_seconds;
  v1::ChatPrompt prompt;  // template and its arguments
  std::string system;
};

class ChatSession {
 public:
  // `settings` hold the start values, and change with /set. The caller holds the signals.
  ChatSession(ChatStart start, ChatSettings& settings, Streams& streams);

  // Until the end of the input, /quit, or a signal; returns the exit code.
  int Run();

 private:
  struct Command {
    const char* name;
    const char* argument;  // as the help shows it
    const char* summary;
    void (ChatSession::*run)(const std::string& argument);
  };
  static const Command kCommands[];

  // A whole message: a line, or several by a backslash at the end or by """. False at the end.
  bool ReadMessage(std::string& message, bool& block);
  // One line of it. Anything but kLine gives the message up, or all (`quit_`); at the end of the
  // input it is what has been read.
  LineEnd ReadPart(const char* prompt, std::string& line);
  void Obey(const std::string& line);
  // Asks for an answer to the conversation, which ends with the user's message.
  void Ask();
  grpc::Status Stream(class Answer& answer, std::string& text, bool& interrupted);
  // A message that got no answer leaves the conversation; /retry asks it again.
  void GiveBack();
  const v1::Limits& Limits();
  void Error(const std::string& text, int code);
  void Note(const std::string& text);

  void System(const std::string& argument);
  void Set(const std::string& argument);
  void Unset(const std::string& argument);
  void Reset(const std::string& argument);
  void Retry(const std::string& argument);
  void Save(const std::string& argument);
  void Load(const std::string& argument);
  void Tokens(const std::string& argument);
  void Help(const std::string& argument);
  void Quit(const std::string& argument);

  ChatStart start_;
  ChatSettings& settings_;
  Streams& streams_;
  bool interactive_;  // somebody types
  bool terminal_;     // somebody reads
  bool colours_;
  std::unique_ptr<LineSource> lines_;
  std::unique_ptr<v1::Inference::Stub> inference_;
  std::unique_ptr<v1::Control::Stub> control_;
  std::optional<v1::Limits> limits_;
  Conversation conversation_;
  std::string unanswered_;
  int interrupts_ = 0;  // in a row, at the prompt
  int code_ = kDone;
  bool quit_ = false;
};

}  // namespace shardline::cli
