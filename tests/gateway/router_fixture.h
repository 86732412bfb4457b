// A router with a scripted worker, and what tests say to it as either side.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gateway/router.h"
#include "tests/gateway/fake_tokenizer.h"

namespace shardline {

// Notes what the router sends.
class FakeWorker : public WorkerPort {
 public:
  void Send(const Submit& message) override { submits.push_back(message); }
  void Send(const shardline::Cancel& message) override { cancels.push_back(message.key); }
  void Send(const Pause& message) override { pauses.push_back(message.key); }
  void Send(const Resume& message) override { resumes.push_back(message.key); }

  std::vector<Submit> submits;
  std::vector<RequestKey> cancels, pauses, resumes;
};

class RouterTest : public testing::Test {
 protected:
  void Start(Router::Options options = {}) {
    options.eos_ids = {FakeTokenizer::kEos};
    router = std::make_unique<Router>(options, &tokenizer, &metrics);
  }
  void WorkerUp(uint32_t max_sequences = 4, uint64_t blocks = 1000) {
    worker = std::make_shared<FakeWorker>();
    ready.header.epoch = 1;
    ready.header.vocabulary_size = FakeTokenizer::kSize;
    ready.header.context_tokens = 1000;
    ready.header.max_sequences = max_sequences;
    ready.header.block_tokens = 16;
    ready.header.kv_blocks_total = blocks;
    router->WorkerReady(0, worker, ready);
  }
  static Admission Request(const std::string& id, std::vector<uint32_t> prompt = {1, 2, 3}) {
    Admission admission;
    admission.id = id;
    admission.model = "m";
    admission.submit.prompt = std::move(prompt);
    admission.submit.header.outputs = 1;
    admission.submit.header.max_new_tokens = 100;
    admission.submit.header.sampling.seed = 77;
    return admission;
  }
  std::shared_ptr<LiveRequest> Admit(Admission admission) {
    auto live = router->Admit(std::move(admission));
    EXPECT_TRUE(live.ok()) << live.status();
    return live.ok() ? *live : nullptr;
  }
  void Say(RequestKey key, uint32_t first_index, const std::vector<uint32_t>& ids) {
    Tokens tokens;
    tokens.header.key = key;
    tokens.header.first_index = first_index;
    for (const uint32_t id : ids) tokens.tokens.push_back({.id = id, .logprob = NAN});
    router->OnMessage(0, tokens);
  }
  void Finish(RequestKey key, FlatFinish reason, uint32_t id = 0) {
    router->OnMessage(0, Finished{.key = key, .reason = reason, .stop_token_id = id});
  }
  void Report(uint32_t running, uint32_t waiting = 0, uint64_t blocks_used = 0) {
    StepReport report{};
    report.epoch = 1;
    report.step = ++step;
    report.running_sequences = running;
    report.waiting_sequences = waiting;
    report.free_sequences = ready.header.max_sequences - running;
    report.kv_blocks_used = blocks_used;
    report.kv_blocks_total = ready.header.kv_blocks_total;
    router->OnMessage(0, report);
  }
  // The request's first reader.
  EventStream::Reader ReaderOf(const LiveRequest& live) {
    const auto [reader, fresh] = readers.try_emplace(live.key, 0);
    if (fresh) reader->second = live.stream->Join(1, nullptr)->reader;
    return reader->second;
  }
  EventStream::Next Take(const LiveRequest& live, v1::GenerateEvent* event) {
    return live.stream->Take(ReaderOf(live), event);
  }
  std::vector<v1::GenerateEvent> Drain(const LiveRequest& live) {
    std::vector<v1::GenerateEvent> events;
    v1::GenerateEvent event;
    while (Take(live, &event) == EventStream::Next::kEvent) events.push_back(event);
    return events;
  }
  void Leave(const std::shared_ptr<LiveRequest>& live, Outcome why) {
    router->Leave(live, ReaderOf(*live), why);
  }
  uint64_t Count(Outcome outcome) {
    return metrics.Snapshot().outcomes[static_cast<size_t>(outcome)];
  }
  void ExpectBalanced() {
    const MetricsSnapshot now = metrics.Snapshot();
    uint64_t ends = 0;
    for (size_t i = 0; i < now.outcomes.size(); ++i) {
      if (i != static_cast<size_t>(Outcome::kRejected)) ends += now.outcomes[i];
    }
    EXPECT_EQ(now.accepted, ends + now.running + now.queued);
    EXPECT_EQ(now.running, router->state().running);
    EXPECT_EQ(now.queued, router->state().queued);
    EXPECT_EQ(now.queued_tokens, router->state().queued_tokens);
  }
  void TearDown() override {
    if (router != nullptr) ExpectBalanced();
  }

  FakeTokenizer tokenizer;
  Metrics metrics;
  Ready ready;
  std::unique_ptr<Router> router;
  std::shared_ptr<FakeWorker> worker;
  std::map<RequestKey, EventStream::Reader> readers;
  uint64_t step = 0;
};

}  // namespace shardline
