// The commands that talk to a server, against a scripted one in this process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/tools/cli/fake_server.h"

namespace shardline::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

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
  EXPECT_EQ(out_, "[0] aA\n[1] bB\n");
  EXPECT_THAT(err_, HasSubstr("finished: length, eos"));

  // What did not finish shows too.
  script_.events.pop_back();
  AddTokens("c", 1, 2);
  EXPECT_EQ(Call(Generate, {"--n=3", "x"}), kFailed);
  EXPECT_EQ(out_, "[0] aA\n[1] bB\n[2] c\n");
}

TEST_F(ServerTest, ShowsLogprobsAsATable) {
  v1::PromptTokens& prompt = *Add().mutable_prompt();
  prompt.set_first_position(7);
  prompt.add_tokens()->set_raw("<s>");
  v1::TokenInfo* second = prompt.add_tokens();
  second->set_id(40);
  second->set_raw("\n");
  second->set_logprob(-0.25);
  second->set_rank(1);
  for (uint32_t output : {0, 1, 0}) {
    v1::OutputTokens& tokens = *Add().mutable_tokens();
    tokens.set_output_index(output);
    v1::TokenInfo& token = *tokens.add_tokens();
    token.set_id(1917 + output);
    token.set_raw(" \"\xc3\xa9\xc3");
    token.set_logprob(-1.5);
    token.set_rank(2);
    v1::Candidate& best = *token.add_top();
    best.set_id(3);
    best.set_raw("the");
    best.set_logprob(-0.5);
    v1::Candidate& next = *token.add_top();
    next = best;
    next.set_id(4);
  }
  Finish(v1::FINISH_REASON_EOS, 1);
  Finish(v1::FINISH_REASON_EOS).mutable_usage()->set_output_tokens(3);
  const std::string heading =
      " INDEX       ID  TEXT                    LOGPROB    RANK  CANDIDATES\n";
  const std::string candidates = "-1.5000       2  3 \"the\" -0.5000  4 \"the\" -0.5000\n";
  EXPECT_EQ(Call(Generate, {"--logprobs=2", "--n=2", "x"}), kDone) << err_;
  EXPECT_EQ(out_, "prompt\n" + heading +
                      "     7        0  \"<s>\"                         -       -\n"
                      "     8       40  \"\\n\"                    -0.2500       1\n"
                      "\noutput 0\n" +
                      heading + "     0     1917  \" \\\"é\\xc3\"              " + candidates +
                      "     1     1917  \" \\\"é\\xc3\"              " + candidates +
                      "\noutput 1\n" + heading + "     0     1918  \" \\\"é\\xc3\"              " +
                      candidates);
  EXPECT_EQ(script_.last_request.logprobs().top(), 2u);
}

TEST_F(ServerTest, AttachesToARequest) {
  Add(TextEvent("rest", 1, 1));
  Finish(v1::FINISH_REASON_EOS, 1);
  AddTokens("first");
  Finish(v1::FINISH_REASON_EOS).mutable_usage();
  EXPECT_EQ(Call(Generate, {"--attach", "r1", "--from-seq=9"}), kDone) << err_;
  EXPECT_EQ(out_, "[1] rest\n[0] first\n");
  EXPECT_EQ(script_.last_attach.request_id(), "r1");
  EXPECT_EQ(script_.last_attach.from_seq(), 9u);
  EXPECT_EQ(Call(Generate, {"--attach=r1"}), kDone);
  EXPECT_EQ(script_.last_attach.from_seq(), 1u);
  EXPECT_EQ(script_.requests, 0);
  for (const Arguments& arguments : {Arguments{"--attach=r1", "words"},
                                     {"--attach=r1", "--top-k=1"},
                                     {"--from-seq=2", "x"},
                                     {"--attach=r1", "--system=s"},
                                     {"--attach=r1", "--ids"}}) {
    EXPECT_EQ(Call(Generate, arguments), kBadInput) << arguments[0];
    EXPECT_THAT(err_, HasSubstr("--attach"));
  }
}

TEST_F(ServerTest, TellsHowToAttachAgain) {
  Add().mutable_accepted()->set_request_id("r7");
  AddTokens("one");
  script_.hang = true;
  interrupt_at_output_ = true;
  EXPECT_EQ(Call(Generate, {"--detach-seconds=60", "x"}), kInterrupted);
  EXPECT_THAT(err_, HasSubstr("the request may go on: --attach r7 --from-seq 3\n"));
}

TEST_F(ServerTest, SendsTheDeadline) {
  AddTokens("a");
  Finish(v1::FINISH_REASON_EOS).mutable_usage();
  EXPECT_EQ(Call(Generate, {"x"}), kDone);
  EXPECT_FALSE(script_.deadline_set);
  EXPECT_EQ(Call(Generate, {"--deadline-seconds=60", "x"}), kDone) << err_;
  EXPECT_TRUE(script_.deadline_set);
  script_.hang = true;
  script_.events.clear();
  EXPECT_EQ(Call(Generate, {"--deadline-seconds=0.01", "x"}), kFailed);
  EXPECT_THAT(err_, StartsWith("shardline generate: DEADLINE_EXCEEDED"));
  for (const char* bad : {"0", "-1", "nan", "1e9", "x"}) {
    EXPECT_EQ(Call(Generate, {"--deadline-seconds", bad, "x"}), kBadInput) << bad;
  }
}

TEST_F(ServerTest, ShowsTheLoad) {
  script_.load.set_queued_requests(2);
  script_.load.set_queued_tokens(300);
  script_.load.set_running_requests(1);
  v1::GroupLoad& group = *script_.load.add_groups();
  group.set_worker_epoch(4);
  group.set_ready(true);
  group.set_running_sequences(1);
  group.set_kv_blocks_used(5);
  group.set_kv_blocks_total(40);
  script_.load.add_groups()->set_replica(1);
  EXPECT_EQ(Call(Load, {}), kDone) << err_;
  EXPECT_EQ(out_,
            "QUEUED  QUEUED TOKENS  RUNNING\n"
            "     2            300        1\n"
            "\n"
            "REPLICA  EPOCH  READY  RUNNING  KV USED  KV BLOCKS  KV USE\n"
            "      0      4  yes          1        5         40  12.5 %\n"
            "      1      0  no           0        0          0       -\n");
  EXPECT_EQ(Call(Load, {"--json"}), kDone);
  EXPECT_THAT(out_, StartsWith("{\"queued_requests\":2,\"queued_tokens\":\"300\""));
  interrupt_at_output_ = true;
  EXPECT_EQ(Call(Load, {"--watch=100", "--json"}), kDone);
  EXPECT_EQ(std::count(out_.begin(), out_.end(), '\n'), 1);
  EXPECT_EQ(Call(Load, {"extra"}), kBadInput);
  script_.status = grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
  EXPECT_EQ(Call(Load, {"--watch=1"}), kFailed);
  EXPECT_EQ(err_, "shardline load: UNAVAILABLE: draining\n");
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
