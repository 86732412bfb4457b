// A scripted server in the test's own process, and a fixture that calls commands against it.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "shardline/v1/control.grpc.pb.h"
#include "shardline/v1/inference.grpc.pb.h"
#include "tools/cli/commands.h"

namespace shardline::cli {

class Script : public v1::Inference::Service, public v1::Control::Service {
 public:
  using Writer = grpc::ServerWriter<v1::GenerateEvent>;

  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        Writer* writer) override {
    {
      const std::lock_guard lock(mutex_);
      last_request = *request;
      ++requests;
    }
    deadline_set = context->deadline() < std::chrono::system_clock::now() + std::chrono::hours(1);
    if (answer) return answer(*context, *request, *writer);
    return Play(*context, *writer);
  }
  grpc::Status Attach(grpc::ServerContext* context, const v1::AttachRequest* request,
                      Writer* writer) override {
    last_attach = *request;
    return Play(*context, *writer);
  }
  grpc::Status Tokenize(grpc::ServerContext*, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    last_tokenize = *request;
    for (const char c : request->text()) response->add_token_ids(static_cast<unsigned char>(c));
    return status;
  }
  // A token for each byte of a message, and one before it.
  grpc::Status RenderChat(grpc::ServerContext*, const v1::RenderChatRequest* request,
                          v1::RenderChatResponse* response) override {
    for (const v1::ChatMessage& message : request->chat().messages()) {
      for (size_t i = 0; i <= message.content().size(); ++i) response->add_token_ids(1);
    }
    return status;
  }
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    *response = models;
    return status;
  }
  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest*,
                        v1::Model* response) override {
    *response = model;
    return status;
  }
  grpc::Status GetLoad(grpc::ServerContext*, const v1::GetLoadRequest*,
                       v1::GetLoadResponse* response) override {
    *response = load;
    return status;
  }
  grpc::Status GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*,
                             v1::GetServerInfoResponse* response) override {
    *response->mutable_limits() = limits;
    return status;
  }

  // A thread of the server may still be in Generate.
  v1::GenerateRequest Last() {
    const std::lock_guard lock(mutex_);
    return last_request;
  }

  // Until the call is cancelled, 10 s at most; true when it was.
  static bool WaitForCancel(const grpc::ServerContext& context) {
    for (int i = 0; !context.IsCancelled() && i < 2000; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return context.IsCancelled();
  }

  std::vector<v1::GenerateEvent> events;  // what Generate and Attach send
  std::function<grpc::Status(grpc::ServerContext&, const v1::GenerateRequest&, Writer&)> answer;
  grpc::Status status;
  bool hang = false;
  v1::ListModelsResponse models;
  v1::Model model;
  v1::GetLoadResponse load;
  v1::Limits limits;
  v1::GenerateRequest last_request;
  v1::AttachRequest last_attach;
  v1::TokenizeRequest last_tokenize;
  std::atomic<int> requests = 0;
  std::atomic<bool> deadline_set = false;
  std::atomic<bool> cancelled = false;

 private:
  grpc::Status Play(grpc::ServerContext& context, Writer& writer) {
    for (const v1::GenerateEvent& event : events) writer.Write(event);
    if (hang) WaitForCancel(context);
    cancelled = context.IsCancelled();
    return status;
  }

  std::mutex mutex_;
};

inline v1::GenerateEvent TextEvent(const std::string& text, int count = 1, uint32_t output = 0) {
  v1::GenerateEvent event;
  v1::OutputTokens& tokens = *event.mutable_tokens();
  tokens.set_text(text);
  tokens.set_output_index(output);
  for (int i = 0; i < count; ++i) tokens.add_tokens()->set_id(5);
  return event;
}

inline v1::GenerateEvent FinishEvent(v1::FinishReason reason, uint32_t tokens) {
  v1::GenerateEvent event;
  event.mutable_finished()->set_reason(reason);
  event.mutable_finished()->mutable_usage()->set_output_tokens(tokens);
  return event;
}

// Standard output on which Ctrl-C is pressed as soon as something shows.
class Screen : public std::stringbuf {
 public:
  int sync() override {
    if (interrupts && !str().empty()) {
      interrupts = false;
      kill(getpid(), SIGINT);
    }
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
  void TearDown() override { server_->Shutdown(std::chrono::system_clock::now()); }

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

  v1::GenerateEvent& Add(v1::GenerateEvent event = {}) {
    script_.events.push_back(std::move(event));
    script_.events.back().set_event_seq(script_.events.size());
    return script_.events.back();
  }
  void AddTokens(const std::string& text, int count = 1, uint32_t output = 0) {
    Add(TextEvent(text, count, output));
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

}  // namespace shardline::cli
