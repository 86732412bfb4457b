// `shardline chat` with its input from a string: what it sends, says and keeps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "tests/tools/cli/fake_server.h"

namespace shardline::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// The messages as "role:content|…".
std::string Messages(const v1::GenerateRequest& request) {
  std::string all;
  for (const v1::ChatMessage& message : request.chat().messages()) {
    all += message.role() + ":" + message.content() + "|";
  }
  return all;
}

class ChatTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    // Answers with the number of messages; "fail" fails in the middle.
    script_.answer = [this](grpc::ServerContext&, const v1::GenerateRequest& request,
                            Script::Writer& writer) {
      if (!script_.status.ok()) return script_.status;
      writer.Write(TextEvent("answer "));
      const auto& messages = request.chat().messages();
      if (messages[messages.size() - 1].content() == "fail") {
        v1::GenerateEvent event;
        event.mutable_error()->set_code(v1::ERROR_CODE_WORKER_LOST);
        event.mutable_error()->set_message("gone");
        writer.Write(event);
        return grpc::Status::OK;
      }
      writer.Write(TextEvent(std::to_string(messages.size())));
      writer.Write(FinishEvent(v1::FINISH_REASON_EOS, 2));
      return grpc::Status::OK;
    };
  }
  int Say(const std::string& in, Arguments arguments = {}) { return Call(Chat, arguments, in); }
  std::string Path(const std::string& name) { return testing::TempDir() + "/chat_" + name; }
};

TEST_F(ChatTest, KeepsTheConversation) {
  EXPECT_EQ(Say("hi\n\n  \nagain\n", {"--system=Be brief.", "--model=m", "--top-k=3"}), kDone);
  EXPECT_EQ(out_, "answer 2\nanswer 4\n") << "no prompts, no colours, no notes";
  EXPECT_EQ(err_, "");
  EXPECT_EQ(Messages(script_.last_request),
            "system:Be brief.|user:hi|assistant:answer 2|user:again|");
  EXPECT_EQ(script_.last_request.model(), "m");
  EXPECT_EQ(script_.last_request.sampling().top_k(), 3u);
  EXPECT_EQ(Say("hi", {"words"}), kBadInput);
}

TEST_F(ChatTest, ReadsMessagesOfSeveralLines) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\\\nb\\\nc\n", "a\nb\nc"},
      {"a\\", "a"},
      {"\"\"\"\n/a\n\n b\n\"\"\"\n", "/a\n\n b"},
      {"\"\"\"a\nb\\\nc\"\"\"\n", "a\nb\\\nc"},
      {"\"\"\"a\"\"\"\n", "a"},
      {"\"\"\"\n\na\n", "\na"},
      {"//a b\n", "/a b"},
      {"crlf\r\n", "crlf"},
      {" kept \n", " kept "},
  };
  for (const auto& [in, expected] : cases) {
    EXPECT_EQ(Say(in), kDone) << in << err_;
    EXPECT_EQ(Messages(script_.last_request), std::string("user:") + expected + "|");
  }
  const int before = script_.requests;
  EXPECT_EQ(Say("\"\"\"\n\"\"\"\n\"\"\"\"\"\"\n"), kDone);
  EXPECT_EQ(script_.requests, before) << "nothing was said";
}

TEST_F(ChatTest, SystemAndReset) {
  EXPECT_EQ(Say("a\n/system Be  kind. \nb\n"), kDone) << err_;
  EXPECT_EQ(Messages(script_.last_request), "system:Be  kind.|user:a|assistant:answer 1|user:b|");
  EXPECT_EQ(Say("a\n/system x\n/reset\nb\n"), kDone);
  EXPECT_EQ(Messages(script_.last_request), "system:x|user:b|");
  EXPECT_EQ(Say("/system x\n/system\nb\n"), kDone);
  EXPECT_EQ(Messages(script_.last_request), "user:b|");
}

TEST_F(ChatTest, SetsParameters) {
  EXPECT_EQ(Say("/set temperature 0.5\n/set top_k=7\n/set stop \"\\n\\n\"\n/set stop b\n"
                "/set logit-bias 5=-1\n/set ignore-eos true\n/set seed 18446744073709551615\n"
                "/set temperature\n/set seed\n/set stop\n/set min-p\n/unset top-k\nhi\n",
                {"--max-new-tokens=9"}),
            kDone)
      << err_;
  EXPECT_THAT(out_, StartsWith("temperature  0.5\nseed  18446744073709551615\n"
                               "stop  [\"\\n\\n\",\"b\"]\nmin-p  default\n"));
  const v1::GenerateRequest request = script_.Last();
  EXPECT_EQ(request.sampling().temperature(), 0.5f);
  EXPECT_FALSE(request.sampling().has_top_k());
  EXPECT_EQ(request.sampling().logit_bias().at(5), -1);
  EXPECT_EQ(request.sampling().seed(), ~uint64_t{0});
  EXPECT_EQ(request.stopping().stop_strings(0), "\n\n");
  EXPECT_EQ(request.stopping().stop_strings(1), "b");
  EXPECT_TRUE(request.stopping().ignore_eos());
  EXPECT_EQ(request.stopping().max_new_tokens(), 9u);

  EXPECT_EQ(Say("/set max-new-tokens 4\n/set\n"), kDone);
  EXPECT_THAT(out_, HasSubstr("\nmax-new-tokens          4 "));
  EXPECT_THAT(out_, HasSubstr("\ntemperature             default "));
}

TEST_F(ChatTest, ABadSettingIsOneLineThatListsTheNames) {
  v1::ParameterLimit& limit = *script_.limits.add_parameters();
  limit.set_field("sampling.top_p");
  limit.set_min(0);
  limit.set_max(1);
  limit.set_min_exclusive(true);
  limit.set_served(true);
  v1::ParameterLimit& bias = *script_.limits.add_parameters();
  bias = limit;
  bias.set_field("sampling.logit_bias");
  script_.limits.add_parameters()->set_field("cache_salt");
  const std::pair<const char*, const char*> cases[] = {
      {"/set warmth 3", "there is no 'warmth'"},
      {"/set warmth", "there is no 'warmth'"},
      {"/unset warmth", "there is no 'warmth'"},
      {"/unset", "there is no ''"},
      {"/set temperature hot", "temperature: 'hot' is not a number"},
      {"/set top-k -1", "top-k: '-1' is not a non-negative integer"},
      {"/set ignore-eos perhaps", "ignore-eos: 'perhaps' is neither true nor false"},
      {"/set top-p 0", "top-p: 0 is not in (0, 1]"},
      {"/set top_p 1.5", "top_p: 1.5 is not in (0, 1]"},
      {"/set top-p nan", "top-p: nan is not in (0, 1]"},
      {"/set logit-bias 3=2", "logit-bias: 2 is not in (0, 1]"},
      {"/set cache-salt x", "cache-salt: this server does not know it"},
  };
  for (const auto& [line, expected] : cases) {
    EXPECT_EQ(Say(std::string(line) + "\nhi\n"), kBadInput) << line;
    EXPECT_THAT(err_, StartsWith(std::string("shardline chat: ") + expected)) << line;
    EXPECT_THAT(err_, HasSubstr("(can be set: temperature, top-k, top-p,")) << line;
    EXPECT_EQ(std::count(err_.begin(), err_.end(), '\n'), 1) << err_;
    EXPECT_EQ(out_, "answer 1\n") << "the conversation goes on";
    EXPECT_FALSE(script_.Last().sampling().has_top_p());
    EXPECT_EQ(script_.Last().sampling().logit_bias_size(), 0);
    EXPECT_EQ(script_.Last().cache_salt(), "");
  }
}

TEST_F(ChatTest, SavesAndLoads) {
  const std::string path = Path("saved.json");
  EXPECT_EQ(Say("/system s\n/set temperature 0.5\n/set seed 7\nhi é\n/save " + path + "\n",
                {"--model=m"}),
            kDone)
      << err_;
  EXPECT_EQ(Say("lost\n/load " + path + "\nagain\n", {"--top-k=3", "--model=n"}), kDone) << err_;
  EXPECT_EQ(Messages(script_.Last()), "system:s|user:hi é|assistant:answer 2|user:again|");
  EXPECT_EQ(script_.Last().sampling().temperature(), 0.5f);
  EXPECT_EQ(script_.Last().sampling().seed(), 7u);
  EXPECT_FALSE(script_.Last().sampling().has_top_k());
  EXPECT_EQ(script_.Last().model(), "n") << "a file is for any model";

  std::ofstream(path) << R"({"messages": [{"role": "tool", "name": "f", "content": null}]})";
  EXPECT_EQ(Say("/load " + path + "\nhi\n/save " + path + "\n/load " + path + "\nhi\n"), kDone);
  EXPECT_EQ(script_.Last().chat().messages(0).extra_json(), R"({"name":"f"})");
  EXPECT_FALSE(script_.Last().chat().messages(0).has_content());
}

TEST_F(ChatTest, ABadFileChangesNothing) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "not a saved conversation"},
      {"{", "not a saved conversation"},
      {"[]", "not a saved conversation"},
      {R"({"messages": {}})", "not a saved conversation"},
      {R"({"messages": ["a"]})", "messages[0]: not an object"},
      {R"({"messages": [{"role": "user", "content": "a"}, {"content": "a"}]})",
       "messages[1]: there is no role"},
      {R"({"messages": [{"role": 1}]})", "messages[0]: role is not a text"},
      {R"({"messages": [{"role": "user", "content": [1]}]})", "messages[0]: content is not a text"},
      {R"({"messages": [], "settings": {"sampling": {"warmth": 1}}})", "settings: "},
      {R"({"messages": [], "settings": {"sampling": {"top_k": "x"}}})", "settings: "},
      {R"({"messages": [], "settings": {"n": 2}})", "settings: there is a field that no setting"},
      {R"({"messages": [], "settings": 3})", "settings: "},
  };
  const std::string path = Path("bad.json");
  for (const auto& [text, expected] : cases) {
    std::ofstream(path) << text;
    EXPECT_EQ(Say("a\n/load " + path + "\nb\n", {"--top-k=3"}), kBadInput) << text;
    EXPECT_THAT(err_, StartsWith("shardline chat: " + path + ": " + expected));
    EXPECT_EQ(std::count(err_.begin(), err_.end(), '\n'), 1) << err_;
    EXPECT_EQ(Messages(script_.Last()), "user:a|assistant:answer 1|user:b|");
    EXPECT_EQ(script_.Last().sampling().top_k(), 3u);
  }
  std::ofstream(path) << R"({"messages": [{"x": )" << std::string(100000, '[');
  EXPECT_EQ(Say("/load " + path + "\n"), kBadInput);
  std::ofstream(path) << R"({"messages": [{"x": )" << std::string(100000, '[')
                      << std::string(100000, ']') << "}]}";
  EXPECT_EQ(Say("/load " + path + "\n"), kBadInput);
  EXPECT_EQ(Say("/load /nonexistent\n"), kBadInput);
  EXPECT_THAT(err_, HasSubstr("/nonexistent: cannot be read"));
  EXPECT_EQ(Say("/save /nonexistent/file\n"), kFailed);
  EXPECT_THAT(err_, HasSubstr("/nonexistent/file: cannot be written: No such file"));
  EXPECT_EQ(Say("/save\n"), kBadInput);
}

TEST_F(ChatTest, CountsTokens) {
  script_.model.set_context_tokens(64);
  EXPECT_EQ(Say("/tokens\nhi\n/tokens\n"), kDone) << err_;
  EXPECT_EQ(out_, "0 of 64 tokens (0.0 %)\nanswer 1\n12 of 64 tokens (18.8 %)\n");
  script_.status = grpc::Status(grpc::StatusCode::NOT_FOUND, "no such model");
}

TEST_F(ChatTest, GoesOnAfterAnError) {
  EXPECT_EQ(Say("a\nfail\nb\n"), kFailed);
  EXPECT_EQ(out_, "answer 1\nanswer \nanswer 3\n");
  EXPECT_EQ(err_, "shardline chat: WORKER_LOST: gone\n");
  EXPECT_EQ(Messages(script_.Last()), "user:a|assistant:answer 1|user:b|");

  EXPECT_EQ(Say("a\nfail\n/retry\n"), kFailed);
  EXPECT_EQ(Messages(script_.Last()), "user:a|assistant:answer 1|user:fail|");

  script_.status = grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "chat: too\nlong");
  EXPECT_EQ(Say("a\n"), kFailed);
  EXPECT_EQ(err_, "shardline chat: INVALID_ARGUMENT: chat: too long\n");
  server_->Shutdown();
  EXPECT_EQ(Say("a\nb\n/tokens\n"), kFailed);
  EXPECT_THAT(err_, HasSubstr("no server answers at"));
  EXPECT_EQ(std::count(err_.begin(), err_.end(), '\n'), 3) << err_;
}

TEST_F(ChatTest, AsksAgain) {
  EXPECT_EQ(Say("/retry\n"), kBadInput);
  EXPECT_EQ(err_, "shardline chat: nothing has been asked yet\n");
  EXPECT_EQ(Say("a\nb\n/retry\n"), kDone);
  EXPECT_EQ(Messages(script_.Last()), "user:a|assistant:answer 1|user:b|");
  EXPECT_EQ(script_.requests, 3);
}

TEST_F(ChatTest, CtrlCKeepsWhatWasSaid) {
  const auto answers = script_.answer;
  script_.answer = [&](grpc::ServerContext& context, const v1::GenerateRequest& request,
                       Script::Writer& writer) {
    if (script_.requests > 1) return answers(context, request, writer);
    writer.Write(TextEvent("half an"));
    script_.cancelled = Script::WaitForCancel(context);
    return grpc::Status::OK;
  };
  interrupt_at_output_ = true;
  EXPECT_EQ(Say("a\nb\n"), kDone) << err_;
  EXPECT_EQ(out_, "half an\nanswer 3\n");
  EXPECT_EQ(Messages(script_.Last()), "user:a|assistant:half an|user:b|");
  server_->Shutdown();
  EXPECT_TRUE(script_.cancelled);
}

TEST_F(ChatTest, RefusesWhatIsNoCommandInOneLine) {
  for (const char* line : {"/x", "/set_temperature 1", "/", "/reset now", "/\xff"}) {
    EXPECT_EQ(Say(std::string(line) + "\nhi\n"), kBadInput) << line;
    EXPECT_EQ(std::count(err_.begin(), err_.end(), '\n'), 1) << err_;
    EXPECT_EQ(out_, "answer 1\n");
  }
  EXPECT_EQ(Say("/help\n/quit\nnot said\n"), kDone);
  EXPECT_THAT(out_, HasSubstr("/set NAME VALUE"));
  EXPECT_THAT(out_, Not(HasSubstr("answer 1")));
}

}  // namespace
}  // namespace shardline::cli
