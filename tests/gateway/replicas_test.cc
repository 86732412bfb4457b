// The router with several worker groups, each scripted.
#include <gtest/gtest.h>

#include <cmath>

#include "gateway/router.h"
#include "shared/base/clock.h"
#include "tests/gateway/fake_tokenizer.h"

namespace shardline {
namespace {

class FakeWorker : public WorkerPort {
 public:
  void Send(const Submit& message) override { submits.push_back(message.header.key); }
  void Send(const shardline::Cancel& message) override { cancels.push_back(message.key); }
  void Send(const Pause& message) override { pauses.push_back(message.key); }
  void Send(const Resume&) override {}

  std::vector<RequestKey> submits, cancels, pauses;
};
using Live = std::shared_ptr<LiveRequest>;

class ReplicasTest : public testing::Test {
 protected:
  void Start(size_t groups, Router::Options options = {}) {
    options.groups = groups;
    options.eos_ids = {FakeTokenizer::kEos};
    router = std::make_unique<Router>(options, &tokenizer, &metrics);
    workers.resize(groups);
    epochs.resize(groups);
  }
  void Up(size_t group, uint32_t max_sequences = 4, uint64_t blocks = 1000,
          uint32_t context = 1000) {
    workers[group] = std::make_shared<FakeWorker>();
    Ready ready;
    epochs[group] += epochs[group] == 0 ? group + 1 : workers.size();
    ready.header.epoch = epochs[group];
    ready.header.context_tokens = context;
    ready.header.max_sequences = max_sequences;
    ready.header.block_tokens = 16;
    ready.header.kv_blocks_total = blocks;
    router->WorkerReady(group, workers[group], ready);
  }
  void Lose(size_t group) { router->WorkerLost(group); }
  Live Admit(const std::string& id, std::vector<uint32_t> prompt = {1, 2, 3},
             int32_t priority = 0) {
    Admission admission;
    admission.id = id;
    admission.submit.prompt = std::move(prompt);
    admission.submit.header.outputs = 1;
    admission.submit.header.max_new_tokens = 100;
    admission.submit.header.priority = priority;
    auto live = router->Admit(std::move(admission));
    EXPECT_TRUE(live.ok()) << live.status();
    return live.ok() ? *live : nullptr;
  }
  void Say(size_t group, const Live& live, uint32_t index, uint32_t id) {
    Tokens tokens;
    tokens.header.key = live->key;
    tokens.header.first_index = index;
    tokens.tokens = {{.id = id, .logprob = NAN}};
    router->OnMessage(group, tokens);
  }
  void Finish(size_t group, const Live& live) {
    router->OnMessage(group, Finished{.key = live->key, .reason = FlatFinish::kLength});
  }
  void Report(size_t group, uint64_t epoch, uint64_t step, uint64_t used, uint32_t waiting = 0,
              uint64_t preemptions = 0) {
    StepReport report{};
    report.epoch = epoch;
    report.step = step;
    report.waiting_sequences = waiting;
    report.kv_blocks_used = used;
    report.kv_blocks_total = 1000;
    report.preemptions = preemptions;
    router->OnMessage(group, report);
  }
  static std::vector<v1::GenerateEvent> Events(const Live& live) {
    const EventStream::Reader reader = live->stream->Join(1, nullptr)->reader;
    std::vector<v1::GenerateEvent> events;
    v1::GenerateEvent event;
    while (live->stream->Take(reader, &event) == EventStream::Next::kEvent) events.push_back(event);
    return events;
  }
  static std::string Text(const Live& live) {
    std::string text;
    for (const auto& event : Events(live)) text += event.tokens().text();
    return text;
  }
  void TearDown() override {
    router->AbortAll();
    EXPECT_EQ(router->state().running, 0u);
    EXPECT_EQ(metrics.Snapshot().running, 0u);
  }

  FakeTokenizer tokenizer;
  Metrics metrics;
  std::unique_ptr<Router> router;
  std::vector<std::shared_ptr<FakeWorker>> workers;
  std::vector<uint64_t> epochs;
};

TEST_F(ReplicasTest, RequestsGoToTheLeastBusyGroup) {
  Start(3);
  for (size_t group = 0; group < 3; ++group) Up(group);
  for (int i = 0; i < 12; ++i) Admit(Cat(i));
  for (const auto& worker : workers) EXPECT_EQ(worker->submits.size(), 4u);
  EXPECT_EQ(router->state().queued, 0u);
  Admit("no slot");
  EXPECT_EQ(router->state().queued, 1u);
  EXPECT_EQ(router->state().running, 12u);
}

TEST_F(ReplicasTest, AFullCacheCountsAsLoadToo) {
  Start(2);
  Up(0, /*max_sequences=*/100, /*blocks=*/20);
  Up(1, 100, 20);
  Admit("long", std::vector<uint32_t>(160, 1));  // 11 of 20 blocks
  Admit("a", {2});
  Admit("b", {3});
  EXPECT_EQ(workers[1]->submits.size(), 2u);
  Admit("other long", std::vector<uint32_t>(250, 2));  // 16 blocks: fits 1 alone
  EXPECT_EQ(workers[1]->submits.size(), 3u);
}

TEST_F(ReplicasTest, AGroupsDeathLeavesTheOthersStreamsUntouched) {
  Start(2);
  Up(0);
  Up(1);
  const Live a = Admit("a"), b = Admit("b");
  ASSERT_EQ(a->group, 0u);
  ASSERT_EQ(b->group, 1u);
  Say(0, a, 0, 'x');
  Say(1, b, 0, 'y');
  Lose(0);
  EXPECT_EQ(Events(a).back().error().code(), v1::ERROR_CODE_WORKER_LOST);
  Say(1, b, 1, 'z');
  Finish(1, b);
  EXPECT_EQ(Text(b), "yz");
  EXPECT_TRUE(Events(b).back().has_finished());
  EXPECT_TRUE(workers[1]->cancels.empty());
  EXPECT_TRUE(router->state().worker_ready);
  EXPECT_FALSE(router->state().groups[0].serves);
  const Live c = Admit("c");  // whoever serves takes it
  EXPECT_EQ(c->group, 1u);
  Lose(1);
  EXPECT_FALSE(router->state().worker_ready);
}

TEST_F(ReplicasTest, WhatAGroupSaysOfRequestsThatItDoesNotRunDoesNotCount) {
  Start(2);
  Up(0);
  Up(1);
  const Live a = Admit("a"), b = Admit("b");
  Say(0, b, 0, '!');
  Finish(0, b);
  router->OnMessage(0, Failed{b->key, FlatError::kInternal, "not mine"});
  Say(1, b, 0, 'y');
  EXPECT_EQ(Text(b), "y");
  EXPECT_EQ(router->live_requests(), 2u);
}

TEST_F(ReplicasTest, ReportsOfADeadWorkerAreIgnored) {
  Start(2);
  Up(0);
  Up(1);
  Report(0, epochs[0], 7, 30);
  EXPECT_EQ(metrics.Snapshot().kv_blocks_used, 30u);
  const uint64_t dead = epochs[0];
  Lose(0);
  Report(0, dead, 8, 40);  // while nobody serves there
  EXPECT_EQ(metrics.Snapshot().kv_blocks_used, 0u);
  Up(0);
  EXPECT_EQ(epochs[0], dead + 2);
  Report(0, dead, 9, 50, /*waiting=*/5);  // and while the next one does
  EXPECT_EQ(metrics.Snapshot().kv_blocks_used, 0u);
  EXPECT_EQ(router->state().groups[0].report.epoch, epochs[0]);
  EXPECT_EQ(router->state().groups[0].report.waiting_sequences, 0u);
}

TEST_F(ReplicasTest, AConversationGoesOnWhereItsBeginningIs) {
  Start(2);
  Up(0, /*max_sequences=*/32);
  Up(1, 32);
  const Live other = Admit("other");  // group 0 is a little busier from now on
  std::vector<uint32_t> prompt(200, 7);
  const Live first = Admit("first", prompt);
  ASSERT_EQ(first->group, 1u);
  Finish(1, first);
  Finish(0, other);
  Admit("a", std::vector<uint32_t>(200, 8));
  prompt.resize(300, 9);
  EXPECT_EQ(Admit("second", prompt)->group, 1u);  // for its beginning; and now 1 has the more work
  EXPECT_EQ(Admit("third", prompt)->group, 1u);
  EXPECT_EQ(Admit("fourth", prompt)->group, 1u);
  EXPECT_EQ(Admit("fifth", prompt)->group, 1u);
  EXPECT_EQ(Admit("sixth", prompt)->group, 0u);  // 1 is three of 32 ahead: too much
  Lose(1);
  Up(1, 32);
  EXPECT_EQ(Admit("seventh", prompt)->group, 0u);  // what 1 had is gone; 0 has the sixth's
}

TEST_F(ReplicasTest, OneQueueByPriorityForWhoeverHasRoom) {
  Start(2);
  Up(0, 1);
  Up(1, 1);
  const Live a = Admit("a"), b = Admit("b");
  const Live low = Admit("low"), high = Admit("high", {1}, /*priority=*/3);
  EXPECT_EQ(router->state().queued, 2u);
  Finish(1, b);
  EXPECT_EQ(workers[1]->submits.back(), high->key);
  Finish(0, a);
  EXPECT_EQ(workers[0]->submits.back(), low->key);
  EXPECT_EQ(router->state().queued, 0u);
}

TEST_F(ReplicasTest, WhatWaitsGoesToTheFirstGroupThatServesAgain) {
  Start(2);
  Up(0, 1);
  Up(1, 1);
  Admit("a");
  Admit("b");
  const Live waiting = Admit("waiting");
  Lose(0);
  Lose(1);
  EXPECT_TRUE(absl::IsUnavailable(router->Admit({.id = "c"}).status()));
  EXPECT_EQ(router->live_requests(), 1u);
  Up(1, 1);
  EXPECT_EQ(workers[1]->submits, std::vector<RequestKey>{waiting->key});
}

TEST_F(ReplicasTest, EachGroupsStepIsDueForItself) {
  Start(2);
  Up(0);
  Up(1);
  const Live a = Admit("a");
  EXPECT_GT(router->waiting_for_step_since_ns(0), 0u);
  EXPECT_EQ(router->waiting_for_step_since_ns(1), 0u);
  const Live b = Admit("b");
  const uint64_t since = router->waiting_for_step_since_ns(0);
  Say(1, b, 0, 'x');
  router->OnMessage(1, Progress{0.5, "step"});
  Report(1, epochs[1], 1, 1);
  EXPECT_EQ(router->waiting_for_step_since_ns(0), since);  // the other's headway is not its own
  EXPECT_GE(router->waiting_for_step_since_ns(1), since);
}

TEST_F(ReplicasTest, ASlowReadersRequestIsPausedWhereItRuns) {
  Start(2, {.stream = {.max_events = 4, .max_bytes = 1 << 20, .max_event_bytes = 1}});
  Up(0);
  Up(1);
  Admit("a");
  const Live b = Admit("b");
  for (uint32_t i = 0; i < 5; ++i) Say(1, b, i, 'x');
  EXPECT_TRUE(workers[0]->pauses.empty());
  EXPECT_EQ(workers[1]->pauses, std::vector<RequestKey>{b->key});
  EXPECT_EQ(router->waiting_for_step_since_ns(1), 0u);
  EXPECT_GT(router->waiting_for_step_since_ns(0), 0u);
}

TEST_F(ReplicasTest, MetricsAreSumsOverTheGroups) {
  Start(2);
  Up(0);
  EXPECT_EQ(metrics.Snapshot().kv_blocks_total, 1000u);
  Up(1);
  Report(0, epochs[0], 1, 10, 0, /*preemptions=*/2);
  Report(1, epochs[1], 1, 5, 0, 3);  // the same step number: a step of its own
  MetricsSnapshot now = metrics.Snapshot();
  EXPECT_EQ(now.kv_blocks_used, 15u);
  EXPECT_EQ(now.kv_blocks_total, 2000u);
  EXPECT_EQ(now.preemptions, 5u);
  EXPECT_EQ(now.step_seconds.count, 2u);
  Lose(0);
  now = metrics.Snapshot();
  EXPECT_EQ(now.kv_blocks_used, 5u);
  EXPECT_EQ(now.kv_blocks_total, 1000u);
  EXPECT_EQ(now.preemptions, 5u);
}

TEST_F(ReplicasTest, TheContextIsWhatEveryServingGroupHolds) {
  Start(2);
  Up(0, 4, 1000, /*context=*/500);
  Up(1, 4, 1000, 800);
  EXPECT_EQ(router->state().ready.header.context_tokens, 500u);
  Lose(0);
  EXPECT_EQ(router->state().ready.header.context_tokens, 800u);
}

TEST_F(ReplicasTest, ADrainWaitsForTheRequestsOfAllGroups) {
  Start(2);
  Up(0, 1);
  Up(1, 1);
  const Live a = Admit("a"), b = Admit("b"), waiting = Admit("waiting");
  router->StartDraining();
  EXPECT_TRUE(absl::IsUnavailable(router->Admit({.id = "c"}).status()));
  Finish(0, a);
  EXPECT_EQ(router->live_requests(), 2u);
  EXPECT_EQ(waiting->group, 0u);
  router->EndAll(v1::ERROR_CODE_DRAINING, "late");
  EXPECT_EQ(workers[0]->cancels, std::vector<RequestKey>{waiting->key});
  EXPECT_EQ(workers[1]->cancels, std::vector<RequestKey>{b->key});
  EXPECT_EQ(Events(b).back().error().code(), v1::ERROR_CODE_DRAINING);
}

}  // namespace
}  // namespace shardline
