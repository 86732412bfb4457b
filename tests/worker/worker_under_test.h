// A shardline-worker process at the other end of a channel, as the gateway would start it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shared/base/process.h"
#include "shared/ipc/channel.h"

namespace shardline {

struct WorkerOutcome {
  std::vector<TokenRecord> tokens;
  std::vector<CandidateRecord> top;
  std::vector<TokenRecord> prompt;
  std::optional<Finished> finished;
  std::optional<Failed> failed;
  bool over() const { return finished.has_value() || failed.has_value(); }
};

class WorkerUnderTest {
 public:
  static constexpr std::chrono::seconds kPatience{60};

  explicit WorkerUnderTest(const std::string& model, std::vector<std::string> flags = {},
                           std::vector<uint32_t> eos_ids = {}) {
    static uint64_t epoch = 100;
    auto created = Channel::Create({}, ++epoch);
    EXPECT_TRUE(created.ok()) << created.status();
    channel = *std::move(created);
    SpawnOptions options;
    options.program = SHARDLINE_WORKER;
    options.arguments = {"--channel-fd=3", Cat("--epoch=", epoch), Cat("--parent-pid=", getpid()),
                         Cat("--model=", model)};
    options.arguments.insert(options.arguments.end(), flags.begin(), flags.end());
    options.descriptors = {channel->fd()};
    auto spawned = Process::Spawn(options);
    EXPECT_TRUE(spawned.ok()) << spawned.status();
    process = *std::move(spawned);
    EXPECT_TRUE(channel->WatchProcess(process.pid()).ok());
    EXPECT_TRUE(channel->Send(Configure{std::move(eos_ids)}, kPatience).ok());
  }

  // Takes one record in; false when the worker is gone or silent for too long.
  bool TakeOne() {
    auto received = channel->Receive(kPatience);
    if (!received.ok() || !received->has_value()) return false;
    const Received& record = **received;
    switch (record.kind) {
      case MessageKind::kProgress:
        progress.push_back(*record.As<Progress>());
        break;
      case MessageKind::kReady:
        ready = *record.As<Ready>();
        break;
      case MessageKind::kTokens: {
        const Tokens m = *record.As<Tokens>();
        WorkerOutcome& o = outcomes[m.header.key];
        o.tokens.insert(o.tokens.end(), m.tokens.begin(), m.tokens.end());
        o.top.insert(o.top.end(), m.top.begin(), m.top.end());
        break;
      }
      case MessageKind::kPrompt: {
        const Prompt m = *record.As<Prompt>();
        WorkerOutcome& o = outcomes[m.header.key];
        o.prompt.insert(o.prompt.end(), m.tokens.begin(), m.tokens.end());
        break;
      }
      case MessageKind::kFinished: {
        const Finished m = *record.As<Finished>();
        outcomes[m.key].finished = m;
        break;
      }
      case MessageKind::kFailed: {
        const Failed m = *record.As<Failed>();
        outcomes[m.key].failed = m;
        break;
      }
      case MessageKind::kStepReport:
        report = *record.As<StepReport>();
        break;
      default:
        ADD_FAILURE() << "unexpected " << Name(record.kind);
    }
    return true;
  }

  bool WaitReady() {
    while (!ready.has_value()) {
      if (!TakeOne()) return false;
    }
    return true;
  }
  template <typename T>
  void Send(const T& message) {
    const absl::Status status = channel->Send(message, kPatience);
    EXPECT_TRUE(status.ok()) << status;
  }
  const WorkerOutcome& WaitFor(RequestKey key) {
    while (!outcomes[key].over()) {
      if (!TakeOne()) {
        ADD_FAILURE() << "the worker is gone or silent";
        break;
      }
    }
    return outcomes[key];
  }
  std::optional<ExitStatus> WaitExit() { return process.Wait(kPatience); }

  std::unique_ptr<Channel> channel;
  Process process;
  std::vector<Progress> progress;
  std::optional<Ready> ready;
  std::optional<StepReport> report;
  std::map<RequestKey, WorkerOutcome> outcomes;
};

}  // namespace shardline
