// `shardline chat` as a process, on a pseudo-terminal and on pipes: prompts, colours, Ctrl-C.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shared/base/strings.h"
#include "tests/tools/cli/child.h"
#include "tests/tools/cli/fake_server.h"

namespace shardline::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kPrompt[] = "\033[1;36m>\033[0m ";
constexpr char kMore[] = "\033[1;36m.\033[0m ";
const Arguments kColours = {"TERM=xterm", "NO_COLOR=", "LC_ALL=C"};

class ChatTerminalTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    // "long" says a little and then waits for its end; all else is answered by its length.
    script_.answer = [](grpc::ServerContext& context, const v1::GenerateRequest& request,
                        Script::Writer& writer) {
      const auto& messages = request.chat().messages();
      const std::string& last = messages[messages.size() - 1].content();
      if (last == "long") {
        writer.Write(TextEvent("once upon"));
        Script::WaitForCancel(context);
        return grpc::Status::OK;
      }
      if (last == "silent") {
        Script::WaitForCancel(context);
        return grpc::Status::OK;
      }
      writer.Write(TextEvent(Cat("<", last.size(), "|\033[7m")));
      writer.Write(TextEvent(Cat(messages.size(), ">")));
      writer.Write(FinishEvent(v1::FINISH_REASON_LENGTH, 2));
      return grpc::Status::OK;
    };
  }
};

TEST_F(ChatTerminalTest, TalksOnATerminal) {
  Child chat(Child::On::kTerminal, {"chat", target_}, kColours);
  ASSERT_TRUE(chat.Shows(kPrompt)) << chat.output();
  chat.Type("h\xc3\xa9\n");
  EXPECT_TRUE(chat.Shows("<3|[7m1>"))
      << "UTF-8 in any locale, no control characters: " << chat.output();
  EXPECT_TRUE(chat.Shows("\033[2m2 tokens")) << chat.output();
  EXPECT_TRUE(chat.Shows("length\033[0m")) << chat.output();
  ASSERT_TRUE(chat.Shows(kPrompt));
  chat.Type("\033[A\n");  // the line before, from the history
  EXPECT_TRUE(chat.Shows("<3|[7m3>")) << chat.output();
  ASSERT_TRUE(chat.Shows(kPrompt));
  chat.Type("\x04");
  EXPECT_EQ(chat.End(), 0) << chat.output();
}

TEST_F(ChatTerminalTest, CtrlCStopsTheAnswerAlone) {
  for (const bool typed : {true, false}) {
    Child chat(Child::On::kTerminal, {"chat", target_}, kColours);
    ASSERT_TRUE(chat.Shows(kPrompt));
    chat.Type("long\n");
    ASSERT_TRUE(chat.Shows("once upon")) << chat.output();
    if (typed) {
      chat.Type("\x03");
    } else {
      chat.Signal(SIGINT);
    }
    ASSERT_TRUE(chat.Shows("stopped after 1 token")) << chat.output();
    ASSERT_TRUE(chat.Shows(kPrompt));
    chat.Type("next\n");
    EXPECT_TRUE(chat.Shows("<4|[7m3>")) << chat.output();
    EXPECT_EQ(script_.Last().chat().messages(1).content(), "once upon");
    ASSERT_TRUE(chat.Shows(kPrompt));

    chat.Type("silent\n");
    for (int i = 0; script_.Last().chat().messages_size() < 5 && i < 10'000; ++i) usleep(1000);
    chat.Signal(SIGINT);
    EXPECT_TRUE(chat.Shows("/retry asks again")) << chat.output();
    ASSERT_TRUE(chat.Shows(kPrompt));
    chat.Type("\x04");
    EXPECT_EQ(chat.End(), 0) << chat.output();
  }
}

TEST_F(ChatTerminalTest, CtrlCAtThePromptClearsTheLine) {
  Child chat(Child::On::kTerminal, {"chat", target_}, kColours);
  ASSERT_TRUE(chat.Shows(kPrompt));
  chat.Type("dropped");
  ASSERT_TRUE(chat.Shows("dropped"));
  chat.Type("\x03");
  ASSERT_TRUE(chat.Shows("Ctrl-C again")) << chat.output();
  ASSERT_TRUE(chat.Shows(kPrompt));
  chat.Type("kept\n");
  EXPECT_TRUE(chat.Shows("<4|[7m1>")) << chat.output();
  ASSERT_TRUE(chat.Shows(kPrompt));
  chat.Type("\"\"\"\n");
  ASSERT_TRUE(chat.Shows(kMore));
  chat.Type("dropped\n");
  ASSERT_TRUE(chat.Shows(kMore));
  chat.Signal(SIGINT);
  ASSERT_TRUE(chat.Shows(kPrompt)) << chat.output();
  chat.Type("\x03");
  EXPECT_EQ(chat.End(), 0) << chat.output();
  EXPECT_EQ(script_.requests, 1);
}

TEST_F(ChatTerminalTest, LeavesColoursOut) {
  for (const char* variable : {"NO_COLOR=1", "TERM=dumb"}) {
    Child chat(Child::On::kTerminal, {"chat", target_}, {"TERM=xterm", "NO_COLOR=", variable});
    ASSERT_TRUE(chat.Shows("> "));
    chat.Type("/x\n");
    EXPECT_TRUE(chat.Shows("unknown command"));
    ASSERT_TRUE(chat.Shows("> "));
    chat.Type("hi\n");
    EXPECT_TRUE(chat.Shows("2 tokens"));
    ASSERT_TRUE(chat.Shows("> "));
    chat.Signal(SIGTERM);
    EXPECT_EQ(chat.End(), kInterrupted);
    for (const char* colour : {"\033[2m", "\033[31m", "\033[1;36m"}) {
      EXPECT_THAT(chat.output(), Not(HasSubstr(colour))) << variable;
    }
  }
}

TEST_F(ChatTerminalTest, TalksOnPipes) {
  Child chat(Child::On::kPipes, {"chat", target_});
  chat.Type("abc\n");
  ASSERT_TRUE(chat.Shows("1>\n")) << chat.output();
  chat.Type("long\n");
  ASSERT_TRUE(chat.Shows("once upon")) << "text streams: " << chat.output();
  chat.Signal(SIGINT);
  ASSERT_TRUE(chat.Shows("\n"));
  chat.Type("next\n");
  ASSERT_TRUE(chat.Shows("5>\n"));
  EXPECT_EQ(chat.End(), 0) << chat.output();
  EXPECT_EQ(chat.output(), "<3|\033[7m1>\nonce upon\n<4|\033[7m5>\n");
}

TEST_F(ChatTerminalTest, CtrlCEndsAWaitOnPipes) {
  Child chat(Child::On::kPipes, {"chat", target_});
  chat.Type("abc\n");
  ASSERT_TRUE(chat.Shows("1>\n"));
  chat.Signal(SIGINT);
  EXPECT_EQ(chat.End(), -SIGINT);
}

}  // namespace
}  // namespace shardline::cli
