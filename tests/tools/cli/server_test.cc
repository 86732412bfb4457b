// The commands that talk to a server, against a scripted one in this process.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <sstream>
#include <thread>

#include "shardline/v1/control.grpc.pb.h"
#include "shardline/v1/inference.grpc.pb.h"
#include "tools/cli/commands.h"

namespace shardline::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

class Script : public v1::Inference::Service, public v1::Control::Service {
 public:
  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateEvent>* writer) override {
    last_request = *request;
    for (const v1::GenerateEvent& event : events) writer->Write(event);
    for (int i = 0; hang && !context->IsCancelled() && i < 2000; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    cancelled = context->IsCancelled();
    return status;
  }
  grpc::Status Tokenize(grpc::ServerContext*, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    last_tokenize = *request;
    for (const char c : request->text()) response->add_token_ids(static_cast<unsigned char>(c));
    return status;
  }
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    *response = models;
    return status;
  }

  std::vector<v1::GenerateEvent> events;
  grpc::Status status;
  bool hang = false;
  v1::ListModelsResponse models;
  v1::GenerateRequest last_request;
  v1::TokenizeRequest last_tokenize;
  std::atomic<bool> cancelled = false;
};

// Standard output on which Ctrl-C is pressed as soon as something shows.
class Screen : public std::stringbuf {
 public:
  int sync() override {
    if (interrupts) kill(getpid(), SIGINT);
    interrupts = false;
    return 0;
  }
  bool interrupts = false;
};

class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    // SIGINT goes to the thread that waits for it, never to the server's.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(static_cast<v1::Inference::Service*>(&script_));
    builder.RegisterService(static_cast<v1::Control::Service*>(&script_));
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    target_ = "--target=127.0.0.1:" + std::to_string(port);
  }
  void TearDown() override { server_->Shutdown(); }

  int Call(int (*command)(const Arguments&, Streams&), Arguments arguments,
           const std::string& in = "") {
    arguments.push_back(target_);
    std::istringstream input(in);
    Screen screen;
    screen.interrupts = interrupt_at_output_;
    std::ostream out(&screen);
    std::ostringstream err;
    Streams streams{input, out, err};
    const int code = command(arguments, streams);
    out_ = screen.str();
    err_ = err.str();
    return code;
  }

  v1::GenerateEvent& Add() {
    v1::GenerateEvent& event = script_.events.emplace_back();
    event.set_event_seq(script_.events.size());
    return event;
  }
  void AddTokens(const std::string& text, int count = 1, uint32_t output = 0) {
    v1::OutputTokens& tokens = *Add().mutable_tokens();
    tokens.set_text(text);
    tokens.set_output_index(output);
    for (int i = 0; i < count; ++i) tokens.add_tokens()->set_id(5);
  }
  v1::Finished& Finish(v1::FinishReason reason, uint32_t output = 0) {
    v1::Finished& finished = *Add().mutable_finished();
    finished.set_reason(reason);
    finished.set_output_index(output);
    return finished;
  }

  Script script_;
  std::unique_ptr<grpc::Server> server_;
  std::string target_;
  std::string out_, err_;
  bool interrupt_at_output_ = false;
};

TEST_F(ServerTest, StreamsAnAnswer) {
  Add().mutable_accepted()->set_request_id("r");
  AddTokens("Hel");
  AddTokens("lo", 2);
  Finish(v1::FINISH_REASON_EOS).mutable_usage()->set_output_tokens(4);
  EXPECT_EQ(Call(Generate, {"--temperature=0", "Hi", "there"}), kDone) << err_;
  EXPECT_EQ(out_, "Hello\n");
  EXPECT_THAT(err_, MatchesRegex("4 tokens, first after [0-9.e-]+ s(, [0-9.]+ tok/s)?, "
                                 "finished: eos\n"));
  EXPECT_EQ(script_.last_request.chat().messages(0).content(), "Hi there");
  EXPECT_EQ(script_.last_request.sampling().temperature(), 0);
}

TEST_F(ServerTest, NamesTheStopThatMatched) {
  AddTokens("x\n");
  v1::Finished& finished = Finish(v1::FINISH_REASON_STOP_STRING);
  finished.set_stop_string("\n\n");
  finished.mutable_usage()->set_output_tokens(1);
  EXPECT_EQ(Call(Generate, {"--text"}, "a"), kDone) << err_;
  EXPECT_EQ(out_, "x\n") << "no second newline";
  EXPECT_THAT(err_, HasSubstr("finished: stop_string ('\\x0a\\x0a')"));
  EXPECT_EQ(script_.last_request.text(), "a");
}

TEST_F(ServerTest, KeepsSeveralOutputsApart) {
  AddTokens("a", 1, 0);
  AddTokens("b", 1, 1);
  AddTokens("B", 1, 1);
  Finish(v1::FINISH_REASON_LENGTH, 1);
  AddTokens("A", 1, 0);
  Finish(v1::FINISH_REASON_EOS, 0).mutable_usage()->set_output_tokens(4);
  EXPECT_EQ(Call(Generate, {"--n=2", "x"}), kDone) << err_;
  EXPECT_EQ(out_, "[1] bB\n[0] aA\n");
  EXPECT_THAT(err_, HasSubstr("finished: length, eos"));
}

TEST_F(ServerTest, EchoesThePrompt) {
  Add().mutable_prompt()->add_tokens()->set_raw("<s>");
  AddTokens("!");
  Finish(v1::FINISH_REASON_EOS).mutable_usage();
  EXPECT_EQ(Call(Generate, {"--echo", "x"}), kDone);
  EXPECT_EQ(out_, "<s>!\n");
}

TEST_F(ServerTest, PrintsEventsAsJson) {
  AddTokens("é");
  Finish(v1::FINISH_REASON_EOS).mutable_usage()->set_output_tokens(1);
  EXPECT_EQ(Call(Generate, {"--json", "--logprobs=2", "x"}), kDone) << err_;
  EXPECT_THAT(out_, StartsWith("{\"event_seq\":\"1\",\"tokens\":{"));
  EXPECT_EQ(std::count(out_.begin(), out_.end(), '\n'), 2);
  EXPECT_THAT(out_, HasSubstr("\"reason\":\"FINISH_REASON_EOS\""));
}

TEST_F(ServerTest, TellsErrors) {
  AddTokens("par");
  v1::Error& error = *Add().mutable_error();
  error.set_code(v1::ERROR_CODE_WORKER_LOST);
  error.set_message("the worker\nis gone");
  error.set_retryable(true);
  EXPECT_EQ(Call(Generate, {"x"}), kFailed);
  EXPECT_EQ(out_, "par\n");
  EXPECT_EQ(err_, "shardline generate: WORKER_LOST: the worker is gone (may be tried again)\n");

  script_.events.clear();
  EXPECT_EQ(Call(Generate, {"x"}), kFailed);
  EXPECT_THAT(err_, HasSubstr("ended the stream too early"));

  script_.status = grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "sampling.top_p: 2 is not");
  EXPECT_EQ(Call(Generate, {"x"}), kBadInput);
  EXPECT_EQ(err_, "shardline generate: INVALID_ARGUMENT: sampling.top_p: 2 is not\n");

  script_.status = grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full");
  EXPECT_EQ(Call(Generate, {"x"}), kFailed);
  EXPECT_EQ(err_, "shardline generate: RESOURCE_EXHAUSTED: the queue is full\n");
}

TEST_F(ServerTest, CtrlCEndsTheRequest) {
  AddTokens("one");
  script_.hang = true;
  interrupt_at_output_ = true;
  EXPECT_EQ(Call(Generate, {"x"}), kInterrupted);
  EXPECT_EQ(out_, "one\n");
  EXPECT_THAT(err_, StartsWith("shardline generate: interrupted; 1 token, first after"));
  server_->Shutdown();
  EXPECT_TRUE(script_.cancelled);
}

TEST_F(ServerTest, SaysThatNoServerAnswers) {
  server_->Shutdown();
  for (auto command : {Generate, Tokenize}) {
    EXPECT_EQ(Call(command, {}, "x"), kFailed);
    EXPECT_THAT(err_, HasSubstr("no server answers at 127.0.0.1:"));
    EXPECT_EQ(std::count(err_.begin(), err_.end(), '\n'), 1) << err_;
  }
  EXPECT_EQ(Call(Models, {}), kFailed);
}

TEST_F(ServerTest, TokenizesByTheServer) {
  EXPECT_EQ(Call(Tokenize, {"--add-special-tokens=false"}, "ab"), kDone) << err_;
  EXPECT_EQ(out_, "{\"ids\":[97,98]}\n");
  EXPECT_TRUE(script_.last_tokenize.has_add_special_tokens());
  EXPECT_FALSE(script_.last_tokenize.has_parse_special_tokens());
  EXPECT_EQ(Call(Tokenize, {"--lines"}, "\"a\"\n\"b\\n\"\n"), kDone);
  EXPECT_EQ(out_, "{\"ids\":[97]}\n{\"ids\":[98,10]}\n");
  EXPECT_EQ(Call(Tokenize, {}, "\xff"), kBadInput);
  EXPECT_THAT(err_, HasSubstr("use --tokenizer FILE"));
  script_.status = grpc::Status(grpc::StatusCode::NOT_FOUND, "no such model");
  EXPECT_EQ(Call(Tokenize, {"--lines"}, "\"a\""), kBadInput);
  EXPECT_THAT(err_, HasSubstr("line 1"));
}

TEST_F(ServerTest, ListsModels) {
  v1::Model& model = *script_.models.add_models();
  model.set_name("tiny");
  model.set_family("llama");
  model.set_dtype("bf16");
  model.set_context_tokens(2048);
  model.set_ready(true);
  model.add_capabilities("generate");
  model.add_capabilities("chat");
  EXPECT_EQ(Call(Models, {}), kDone) << err_;
  EXPECT_EQ(out_,
            "NAME  FAMILY  DTYPE  WEIGHTS  CONTEXT  VOCABULARY  READY  CAPABILITIES\n"
            "tiny  llama   bf16   -        2048     0           yes    generate,chat\n");
  EXPECT_EQ(Call(Models, {"--json"}), kDone);
  EXPECT_THAT(out_, HasSubstr("\"context_tokens\":2048"));
  EXPECT_EQ(Call(Models, {"extra"}), kBadInput);
}

}  // namespace
}  // namespace shardline::cli
