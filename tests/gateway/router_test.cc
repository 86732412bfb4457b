// The router between scripted readers and a scripted worker.
#include "gateway/router.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <deque>
#include <map>
#include <numeric>
#include <random>
#include <thread>

#include "gateway/field_error.h"
#include "shared/base/clock.h"
#include "tests/gateway/fake_tokenizer.h"

namespace shardline {
namespace {

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

TEST_F(RouterTest, AStreamFromAcceptedToFinished) {
  Start();
  WorkerUp();
  const auto live = Admit(Request("a"));
  ASSERT_EQ(worker->submits.size(), 1u);
  EXPECT_EQ(worker->submits[0].header.key, live->key);
  Say(live->key, 0, {'h', 'i'});
  Say(live->key, 2, {FakeTokenizer::kEos});
  Finish(live->key, FlatFinish::kEos, FakeTokenizer::kEos);

  const auto events = Drain(*live);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].accepted().request_id(), "a");
  EXPECT_EQ(events[0].accepted().model(), "m");
  EXPECT_EQ(events[0].accepted().prompt_tokens(), 3u);
  EXPECT_EQ(events[0].accepted().seed(), 77u);
  EXPECT_EQ(events[1].tokens().text(), "hi");
  EXPECT_EQ(events[1].tokens().tokens_size(), 3);
  EXPECT_EQ(events[1].tokens().tokens(2).raw(), "<eos>");
  const v1::Finished& finished = events[2].finished();
  EXPECT_EQ(finished.reason(), v1::FINISH_REASON_EOS);
  EXPECT_EQ(finished.stop_token_id(), FakeTokenizer::kEos);
  EXPECT_EQ(finished.usage().prompt_tokens(), 3u);
  EXPECT_EQ(finished.usage().output_tokens(), 3u);
  EXPECT_TRUE(finished.has_timing());
  for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i].event_seq(), i + 1);
  v1::GenerateEvent event;
  EXPECT_EQ(Take(*live, &event), EventStream::Next::kEnd);
  EXPECT_EQ(Count(Outcome::kEos), 1u);
  EXPECT_EQ(router->live_requests(), 0u);
}

TEST_F(RouterTest, AStopStringEndsTheOutputHereAndAtTheWorker) {
  Start();
  WorkerUp();
  Admission admission = Request("a");
  admission.text.stop_strings = {"\n\n"};
  const auto live = Admit(std::move(admission));
  Say(live->key, 0, {'x', '\n', '\n', 'y', 'z'});  // several at once; nothing after the stop counts
  Say(live->key, 5, {'w'});                        // was on its way
  Finish(live->key, FlatFinish::kLength);
  const auto events = Drain(*live);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[1].tokens().text(), "x");
  EXPECT_EQ(events[1].tokens().tokens_size(), 3);
  EXPECT_EQ(events[2].finished().reason(), v1::FINISH_REASON_STOP_STRING);
  EXPECT_EQ(events[2].finished().stop_string(), "\n\n");
  EXPECT_EQ(events[2].finished().usage().output_tokens(), 3u);
  EXPECT_EQ(worker->cancels, std::vector<RequestKey>{live->key});
  EXPECT_EQ(Count(Outcome::kStop), 1u);
  EXPECT_EQ(metrics.Snapshot().output_tokens, 3u);
}

TEST_F(RouterTest, HeldBackTextComesBeforeFinished) {
  Start();
  WorkerUp();
  Admission admission = Request("a");
  admission.text.stop_strings = {"stop"};
  const auto live = Admit(std::move(admission));
  Say(live->key, 0, {'s', 't', 0xC3});
  Finish(live->key, FlatFinish::kLength);
  std::string text;
  for (const auto& event : Drain(*live)) text += event.tokens().text();
  EXPECT_EQ(text, "st\xEF\xBF\xBD");
  EXPECT_EQ(Count(Outcome::kLength), 1u);
}

TEST_F(RouterTest, AStopTokenOfTheRequestIsCountedAndHidden) {
  Start();
  WorkerUp();
  Admission admission = Request("a");
  admission.submit.stop_token_ids = {FakeTokenizer::kEnd};
  const auto live = Admit(std::move(admission));
  Say(live->key, 0, {'a', FakeTokenizer::kEnd});
  Finish(live->key, FlatFinish::kStopToken, FakeTokenizer::kEnd);
  const auto events = Drain(*live);
  EXPECT_EQ(events[1].tokens().text(), "a");
  EXPECT_EQ(events[1].tokens().tokens_size(), 2);
  EXPECT_EQ(events[2].finished().stop_token_id(), FakeTokenizer::kEnd);
  EXPECT_EQ(events[2].finished().usage().output_tokens(), 2u);
}

TEST_F(RouterTest, IgnoredEosShowsAsASpecialToken) {
  Start();
  WorkerUp();
  Admission admission = Request("a");
  admission.submit.header.flags = kIgnoreEos;
  admission.text.include_special_text = true;
  const auto live = Admit(std::move(admission));
  Say(live->key, 0, {'a', FakeTokenizer::kEos, 'b'});
  const auto events = Drain(*live);
  EXPECT_EQ(events[1].tokens().text(), "a<eos>b");
  router->Abort("a");
}

TEST_F(RouterTest, EchoAndPromptLogprobsMakePromptEventsUnderAMegabyte) {
  Start();
  WorkerUp();
  Admission admission = Request("a", std::vector<uint32_t>(200000, FakeTokenizer::kSpaceHello));
  admission.echo = true;
  const auto live = Admit(std::move(admission));
  uint32_t position = 0;
  int pieces = 0;
  for (const auto& event : Drain(*live)) {
    if (!event.has_prompt()) continue;
    ++pieces;
    EXPECT_LT(event.ByteSizeLong(), size_t{1} << 20);
    EXPECT_EQ(event.prompt().first_position(), position);
    position += static_cast<uint32_t>(event.prompt().tokens_size());
    EXPECT_EQ(event.prompt().tokens(0).raw(), " hello");
  }
  EXPECT_EQ(position, 200000u);
  EXPECT_GT(pieces, 1);
  router->AbortAll();

  Admission both = Request("b", {1, 2});
  both.echo = true;
  both.submit.header.flags = kWantPromptLogprobs;
  const auto with_logprobs = Admit(std::move(both));
  Prompt prompt;
  prompt.header.key = with_logprobs->key;
  prompt.header.top_count = 1;
  prompt.tokens = {{.id = 1, .logprob = NAN}, {.id = 2, .logprob = -0.5f, .rank = 3}};
  prompt.top = {{0, NAN}, {7, -0.1f}};
  router->OnMessage(0, prompt);
  const auto events = Drain(*with_logprobs);
  ASSERT_EQ(events.size(), 2u);  // the echo is not sent twice
  EXPECT_FALSE(events[1].prompt().tokens(0).has_logprob());
  EXPECT_EQ(events[1].prompt().tokens(0).top_size(), 0);
  EXPECT_EQ(events[1].prompt().tokens(1).rank(), 3u);
  EXPECT_EQ(events[1].prompt().tokens(1).top(0).id(), 7u);
  router->AbortAll();
}

TEST_F(RouterTest, RefusalsBeforeAccepted) {
  Start({.queue = {.max_requests = 1, .max_tokens = 100}});
  EXPECT_TRUE(absl::IsUnavailable(router->Admit(Request("early")).status()));
  WorkerUp(1);
  const auto live = Admit(Request("a"));
  EXPECT_TRUE(absl::IsAlreadyExists(router->Admit(Request("a")).status()));
  Admission late = Request("late");
  late.deadline_ns = 1;
  EXPECT_TRUE(absl::IsDeadlineExceeded(router->Admit(std::move(late)).status()));
  Admit(Request("b"));  // waits
  const absl::Status full = router->Admit(Request("c")).status();
  EXPECT_TRUE(absl::IsResourceExhausted(full));
  EXPECT_GT(RetrySecondsOf(full).value_or(0), 0);
  router->StartDraining();
  EXPECT_TRUE(absl::IsUnavailable(router->Admit(Request("d")).status()));
  EXPECT_EQ(router->live_requests(), 2u);
  EXPECT_EQ(router->Abort("a"), 1u);
  EXPECT_EQ(worker->submits.size(), 2u);  // what waits goes on while draining
  router->AbortAll();
}

TEST_F(RouterTest, AnIdMayBeUsedAgainAfterItsRequest) {
  Start();
  WorkerUp();
  const auto first = Admit(Request("a"));
  Finish(first->key, FlatFinish::kLength);
  const auto second = Admit(Request("a"));
  EXPECT_NE(first->key, second->key);
  router->AbortAll();
}

TEST_F(RouterTest, TheQueueWaitsForRoomAndGoesByPriority) {
  Start();
  WorkerUp(/*max_sequences=*/2);
  const auto a = Admit(Request("a"));
  const auto b = Admit(Request("b"));
  const auto low = Admit(Request("low"));
  Admission urgent = Request("urgent");
  urgent.submit.header.priority = 5;
  const auto high = Admit(std::move(urgent));
  EXPECT_EQ(worker->submits.size(), 2u);
  EXPECT_EQ(router->state().queued, 2u);
  EXPECT_EQ(router->state().queued_tokens, 6u);
  Finish(a->key, FlatFinish::kLength);
  ASSERT_EQ(worker->submits.size(), 3u);
  EXPECT_EQ(worker->submits[2].header.key, high->key);
  Report(2, /*waiting=*/1);  // the worker itself has something that waits
  Finish(b->key, FlatFinish::kLength);
  EXPECT_EQ(worker->submits.size(), 3u);
  Report(1);
  ASSERT_EQ(worker->submits.size(), 4u);
  EXPECT_EQ(worker->submits[3].header.key, low->key);
  router->AbortAll();
}

TEST_F(RouterTest, TheCacheMustHoldThePrompt) {
  Start();
  WorkerUp(/*max_sequences=*/10, /*blocks=*/10);
  const auto big = Admit(Request("big", std::vector<uint32_t>(100, 1)));  // 7 blocks
  Admit(Request("next", std::vector<uint32_t>(60, 1)));                   // 4 more: waits
  EXPECT_EQ(worker->submits.size(), 1u);
  Admit(Request("small", {1}));  // arrived later: does not overtake
  EXPECT_EQ(worker->submits.size(), 1u);
  Finish(big->key, FlatFinish::kLength);
  EXPECT_EQ(worker->submits.size(), 3u);
  router->AbortAll();
}

TEST_F(RouterTest, ADeadlineThatPassesInTheQueueNeverReachesTheWorker) {
  Start();
  WorkerUp(1);
  const auto a = Admit(Request("a"));
  Admission hasty = Request("hasty");
  hasty.deadline_ns = MonotonicNanoseconds() + 1'000'000;
  const auto late = Admit(std::move(hasty));
  router->Tick(late->deadline_ns + 1);
  const auto events = Drain(*late);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].error().code(), v1::ERROR_CODE_DEADLINE);
  Finish(a->key, FlatFinish::kLength);
  EXPECT_EQ(worker->submits.size(), 1u);
  EXPECT_EQ(Count(Outcome::kDeadline), 1u);
}

TEST_F(RouterTest, CancellationReachesTheWorkerAtOnceAndIsCounted) {
  Start();
  WorkerUp(1);
  const auto running = Admit(Request("a"));
  const auto queued = Admit(Request("b"));
  Leave(queued, Outcome::kCancelled);
  EXPECT_TRUE(worker->cancels.empty());
  Leave(running, Outcome::kDeadline);
  Leave(running, Outcome::kCancelled);  // too late to count
  EXPECT_EQ(worker->cancels, std::vector<RequestKey>{running->key});
  Say(running->key, 0, {'x'});  // was on its way
  EXPECT_EQ(Count(Outcome::kCancelled), 1u);
  EXPECT_EQ(Count(Outcome::kDeadline), 1u);
  v1::GenerateEvent event;
  EXPECT_EQ(Take(*running, &event), EventStream::Next::kEnd);
  EXPECT_TRUE(absl::IsDeadlineExceeded(running->stream->end()));
}

TEST_F(RouterTest, AbortFinishesWithWhatWasHeldBack) {
  Start();
  WorkerUp(1);
  Admission admission = Request("a");
  admission.text.stop_strings = {"stop"};
  const auto live = Admit(std::move(admission));
  const auto queued = Admit(Request("b"));
  Say(live->key, 0, {'s', 't'});
  EXPECT_EQ(router->Abort("nobody"), 0u);
  EXPECT_EQ(router->AbortAll(), 2u);
  const auto events = Drain(*live);
  EXPECT_EQ(events[1].tokens().text(), "st");
  EXPECT_EQ(events.back().finished().reason(), v1::FINISH_REASON_ABORTED);
  EXPECT_EQ(events.back().finished().usage().output_tokens(), 2u);
  const auto never_ran = Drain(*queued);
  EXPECT_EQ(never_ran.back().finished().reason(), v1::FINISH_REASON_ABORTED);
  EXPECT_GT(never_ran.back().finished().timing().queue_seconds(), 0);
  EXPECT_EQ(Count(Outcome::kAborted), 2u);
}

TEST_F(RouterTest, AWorkersDeathEndsWhatRanAndKeepsWhatWaits) {
  Start();
  WorkerUp(1);
  const auto running = Admit(Request("a"));
  const auto waiting = Admit(Request("b"));
  Say(running->key, 0, {'x'});
  router->WorkerLost(0);
  const auto events = Drain(*running);
  EXPECT_EQ(events.back().error().code(), v1::ERROR_CODE_WORKER_LOST);
  EXPECT_TRUE(events.back().error().retryable());
  EXPECT_EQ(events.back().error().usage().output_tokens(), 1u);
  EXPECT_EQ(router->live_requests(), 1u);
  EXPECT_TRUE(absl::IsUnavailable(router->Admit(Request("c")).status()));
  EXPECT_FALSE(router->state().worker_ready);
  WorkerUp(1);
  ASSERT_EQ(worker->submits.size(), 1u);
  EXPECT_EQ(worker->submits[0].header.key, waiting->key);
  Finish(waiting->key, FlatFinish::kLength);
  EXPECT_EQ(Count(Outcome::kError), 1u);
}

TEST_F(RouterTest, WorkerErrorsEndTheirRequestAlone) {
  Start();
  WorkerUp();
  const auto a = Admit(Request("a"));
  const auto b = Admit(Request("b"));
  const auto c = Admit(Request("c"));
  router->OnMessage(0, Failed{a->key, FlatError::kNonFiniteLogits, "no finite logits"});
  router->OnMessage(0, Failed{b->key, FlatError::kDeadline, "late"});
  Say(c->key, 5, {'x'});  // out of turn
  EXPECT_EQ(Drain(*a).back().error().code(), v1::ERROR_CODE_NON_FINITE_LOGITS);
  EXPECT_EQ(Drain(*a).size(), 0u);
  EXPECT_EQ(Drain(*b).back().error().code(), v1::ERROR_CODE_DEADLINE);
  EXPECT_EQ(Drain(*c).back().error().code(), v1::ERROR_CODE_INTERNAL);
  EXPECT_EQ(Count(Outcome::kError), 2u);
  EXPECT_EQ(Count(Outcome::kDeadline), 1u);
}

TEST_F(RouterTest, ASlowReaderPausesItsRequestAloneAndEndsIfItStandsStill) {
  Start({.stalled_reader_ns = 1'000'000'000,
         .stream = {.max_events = 4, .max_bytes = 1 << 20, .max_event_bytes = 1}});
  WorkerUp();
  const auto slow = Admit(Request("slow"));
  const auto other = Admit(Request("other"));
  for (uint32_t i = 0; i < 5; ++i) Say(slow->key, i, {'x'});
  EXPECT_EQ(worker->pauses, std::vector<RequestKey>{slow->key});
  Say(other->key, 0, {'y'});
  EXPECT_EQ(worker->pauses.size(), 1u);

  // The reader comes back: the request goes on.
  v1::GenerateEvent event;
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(Take(*slow, &event), EventStream::Next::kEvent);
    router->Taken(slow);
  }
  EXPECT_EQ(worker->resumes, std::vector<RequestKey>{slow->key});

  for (uint32_t i = 5; i < 10; ++i) Say(slow->key, i, {'x'});
  EXPECT_EQ(worker->pauses.size(), 2u);
  const uint64_t now = MonotonicNanoseconds();
  router->Tick(now);
  ASSERT_EQ(Take(*slow, &event), EventStream::Next::kEvent);  // slow, but it moves
  router->Tick(now + 900'000'000);
  router->Tick(now + 1'800'000'000);
  EXPECT_EQ(router->live_requests(), 2u);
  router->Tick(now + 2'000'000'000);
  EXPECT_EQ(router->live_requests(), 1u);
  EXPECT_EQ(Drain(*slow).back().error().code(), v1::ERROR_CODE_OVERLOADED);
  EXPECT_EQ(worker->cancels, std::vector<RequestKey>{slow->key});
  router->AbortAll();
}

TEST_F(RouterTest, DrainingEndsWithErrorsWhatDidNotFinish) {
  Start();
  WorkerUp(1);
  const auto running = Admit(Request("a"));
  const auto waiting = Admit(Request("b"));
  router->StartDraining();
  router->EndAll(v1::ERROR_CODE_DRAINING, "shutting down");
  EXPECT_EQ(Drain(*running).back().error().code(), v1::ERROR_CODE_DRAINING);
  EXPECT_EQ(Drain(*waiting).back().error().code(), v1::ERROR_CODE_DRAINING);
  EXPECT_EQ(router->live_requests(), 0u);
}

TEST_F(RouterTest, AStepIsDueWhileTheWorkerHasSomethingToRun) {
  Start();
  WorkerUp();
  EXPECT_EQ(router->waiting_for_step_since_ns(0), 0u);
  const uint64_t before = MonotonicNanoseconds();
  const auto live = Admit(Request("a"));
  EXPECT_GE(router->waiting_for_step_since_ns(0), before);
  const uint64_t since = router->waiting_for_step_since_ns(0);
  Report(1);
  EXPECT_GE(router->waiting_for_step_since_ns(0), since);
  Finish(live->key, FlatFinish::kLength);
  EXPECT_EQ(router->waiting_for_step_since_ns(0), 0u);
}

TEST_F(RouterTest, EachOutputEndsForItself) {
  Start();
  WorkerUp();
  Admission admission = Request("a");
  admission.submit.header.outputs = 3;
  admission.text.stop_strings = {"!"};
  const auto live = Admit(std::move(admission));
  const auto say = [&](uint32_t output, uint32_t first, std::vector<uint32_t> ids) {
    Tokens tokens;
    tokens.header = {.key = live->key, .output_index = output, .first_index = first};
    for (const uint32_t id : ids) tokens.tokens.push_back({.id = id, .logprob = NAN});
    router->OnMessage(0, tokens);
  };
  const auto finish = [&](uint32_t output) {
    router->OnMessage(
        0, Finished{.key = live->key, .output_index = output, .reason = FlatFinish::kLength});
  };
  say(1, 0, {'b'});
  say(0, 0, {'a'});
  say(1, 1, {'!', 'x'});  // ends output 1 alone
  EXPECT_EQ(worker->cancels, std::vector<RequestKey>{live->key});
  say(2, 0, {'c', 'd'});
  finish(2);
  say(1, 3, {'y'});  // was on its way
  finish(1);
  EXPECT_EQ(router->live_requests(), 1u);
  say(0, 1, {'e'});
  finish(0);
  EXPECT_EQ(router->live_requests(), 0u);

  std::vector<std::string> texts(3);
  std::vector<const v1::Finished*> finished(3);
  const auto events = Drain(*live);
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].event_seq(), i + 1);
    if (events[i].has_tokens()) {
      texts[events[i].tokens().output_index()] += events[i].tokens().text();
    }
    if (events[i].has_finished()) {
      finished[events[i].finished().output_index()] = &events[i].finished();
    }
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"ae", "b", "cd"}));
  EXPECT_EQ(finished[1]->reason(), v1::FINISH_REASON_STOP_STRING);
  EXPECT_FALSE(finished[1]->has_usage() || finished[2]->has_usage());
  EXPECT_EQ(finished[0]->usage().output_tokens(), 6u);  // summed
  EXPECT_TRUE(finished[0]->has_timing());
  EXPECT_EQ(metrics.Snapshot().output_tokens, 6u);
  EXPECT_EQ(metrics.Snapshot().time_to_first_token.count, 1u);
}

TEST_F(RouterTest, OutputsTakeSlotsAndBlocksOfTheirOwn) {
  Start();
  WorkerUp(/*max_sequences=*/4, /*blocks=*/20);
  Admission many = Request("many", std::vector<uint32_t>(100, 1));
  many.submit.header.outputs = 3;  // 6 blocks together and one each
  const auto a = Admit(std::move(many));
  Admit(Request("b", std::vector<uint32_t>(170, 1)));  // 11 blocks
  EXPECT_EQ(worker->submits.size(), 2u);
  EXPECT_EQ(router->state().running, 2u);
  Admit(Request("c"));  // no slot is left
  EXPECT_EQ(worker->submits.size(), 2u);
  router->OnMessage(0, Finished{.key = a->key, .output_index = 1, .reason = FlatFinish::kLength});
  Report(3, 0, 18);
  EXPECT_EQ(worker->submits.size(), 3u);
  router->AbortAll();
}

TEST_F(RouterTest, ADetachedRequestRunsOnAndIsJoinedAgain) {
  Start();
  WorkerUp();
  Admission admission = Request("a");
  admission.detach_ns = 5'000'000'000;
  const auto live = Admit(std::move(admission));
  Say(live->key, 0, {'x'});
  std::vector<v1::GenerateEvent> seen = Drain(*live);
  Leave(live, Outcome::kCancelled);
  EXPECT_TRUE(worker->cancels.empty());
  Say(live->key, 1, {'y'});
  const auto attached = router->Attach("a", seen.back().event_seq() + 1, nullptr);
  ASSERT_TRUE(attached.ok()) << attached.status();
  EXPECT_EQ(attached->request, live);
  router->Tick(MonotonicNanoseconds() + 60'000'000'000);  // it has a reader again
  Say(live->key, 2, {'z'});
  Finish(live->key, FlatFinish::kLength);
  v1::GenerateEvent event;
  std::string text;
  uint64_t seq = seen.back().event_seq();
  while (attached->stream->Take(attached->reader, &event) == EventStream::Next::kEvent) {
    EXPECT_EQ(event.event_seq(), ++seq);
    text += event.tokens().text();
  }
  EXPECT_EQ(text, "yz");
  EXPECT_TRUE(event.has_finished());

  // After its end too, for a while.
  const auto late = router->Attach("a", 1, nullptr);
  ASSERT_TRUE(late.ok()) << late.status();
  EXPECT_EQ(late->request, nullptr);
  ASSERT_EQ(late->stream->Take(late->reader, &event), EventStream::Next::kEvent);
  EXPECT_EQ(event.SerializeAsString(), seen[0].SerializeAsString());
  EXPECT_TRUE(absl::IsOutOfRange(router->Attach("a", 99, nullptr).status()));
  EXPECT_TRUE(absl::IsNotFound(router->Attach("b", 1, nullptr).status()));
  router->Tick(MonotonicNanoseconds() + 59'000'000'000);
  EXPECT_TRUE(router->Attach("a", 1, nullptr).ok());
  router->Tick(MonotonicNanoseconds() + 61'000'000'000);
  EXPECT_TRUE(absl::IsNotFound(router->Attach("a", 1, nullptr).status()));
}

TEST_F(RouterTest, ADetachedRequestThatNobodyJoinsEnds) {
  Start();
  WorkerUp();
  Admission admission = Request("a");
  admission.detach_ns = 5'000'000'000;
  const auto live = Admit(std::move(admission));
  Leave(live, Outcome::kCancelled);
  router->Tick(MonotonicNanoseconds() + 4'000'000'000);
  EXPECT_EQ(router->live_requests(), 1u);
  router->Tick(MonotonicNanoseconds() + 6'000'000'000);
  EXPECT_EQ(router->live_requests(), 0u);
  EXPECT_EQ(worker->cancels, std::vector<RequestKey>{live->key});
  EXPECT_EQ(Count(Outcome::kCancelled), 1u);
  EXPECT_TRUE(absl::IsNotFound(router->Attach("a", 1, nullptr).status()));
}

TEST_F(RouterTest, AnAttachTakesTheStreamOver) {
  Start();
  WorkerUp();
  const auto live = Admit(Request("a"));
  bool woken = false;
  const EventStream::Reader first = live->stream->Join(1, [&woken] { woken = true; })->reader;
  const auto second = router->Attach("a", 1, nullptr);
  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(woken);
  v1::GenerateEvent event;
  EXPECT_EQ(live->stream->Take(first, &event), EventStream::Next::kReplaced);
  router->Leave(live, first, Outcome::kCancelled);  // means nothing any more
  EXPECT_EQ(router->live_requests(), 1u);
  router->Leave(live, second->reader, Outcome::kCancelled);  // this one was not detachable
  EXPECT_EQ(router->live_requests(), 0u);
}

TEST_F(RouterTest, ADetachedRequestIsNotEndedForASlowReader) {
  Start({.stalled_reader_ns = 1'000'000'000,
         .stream = {.max_events = 4, .max_bytes = 1 << 20, .max_event_bytes = 1}});
  WorkerUp();
  Admission admission = Request("a");
  admission.detach_ns = 20'000'000'000;
  const auto live = Admit(std::move(admission));
  Leave(live, Outcome::kCancelled);
  for (uint32_t i = 0; i < 5; ++i) Say(live->key, i, {'x'});
  EXPECT_EQ(worker->pauses.size(), 1u);
  router->Tick(MonotonicNanoseconds() + 10'000'000'000);
  EXPECT_EQ(router->live_requests(), 1u);
  const auto attached = router->Attach("a", 6, nullptr);  // has seen these
  ASSERT_TRUE(attached.ok());
  EXPECT_EQ(worker->resumes.size(), 1u);
  router->AbortAll();
}

TEST_F(RouterTest, AReaderThatStandsStillAfterTheEndIsEjected) {
  Start({.stalled_reader_ns = 1'000'000'000});
  WorkerUp();
  const auto live = Admit(Request("a"));
  int woken = 0;
  const EventStream::Reader slow = live->stream->Join(1, [&woken] { ++woken; })->reader;
  Say(live->key, 0, {'x'});
  Finish(live->key, FlatFinish::kLength);
  const uint64_t now = MonotonicNanoseconds();
  router->Tick(now + 900'000'000);
  v1::GenerateEvent event;
  ASSERT_EQ(live->stream->Take(slow, &event), EventStream::Next::kEvent);  // slow, but it moves
  router->Tick(now + 1'200'000'000);
  EXPECT_FALSE(live->stream->Ejected(slow));
  woken = 0;
  router->Tick(now + 2'300'000'000);
  EXPECT_TRUE(live->stream->Ejected(slow));
  EXPECT_EQ(woken, 1);
  EXPECT_TRUE(live->stream->Leave(slow));

  // The same for who joins after the end; who has left is not looked for.
  auto late = router->Attach("a", 1, [&woken] { ++woken; });
  ASSERT_TRUE(late.ok());
  EXPECT_FALSE(late->stream->Ejected(late->reader));
  router->Tick(MonotonicNanoseconds() + 2'000'000'000);
  EXPECT_TRUE(late->stream->Ejected(late->reader));
  late = router->Attach("a", 1, [&woken] { ++woken; });
  ASSERT_TRUE(late.ok());
  EXPECT_TRUE(late->stream->Leave(late->reader));
  router->Tick(MonotonicNanoseconds() + 2'000'000'000);
  EXPECT_FALSE(late->stream->Ejected(late->reader));
}

TEST_F(RouterTest, AnAttachFreesARequestFromTheFirstCallsDeadline) {
  Start();
  WorkerUp(1);
  const auto running = Admit(Request("a"));
  Admission hasty = Request("b");
  hasty.deadline_ns = MonotonicNanoseconds() + 1'000'000'000;
  const auto waiting = Admit(std::move(hasty));
  ASSERT_TRUE(router->Attach("b", 1, nullptr).ok());
  router->Tick(MonotonicNanoseconds() + 2'000'000'000);
  EXPECT_EQ(router->live_requests(), 2u);
  Finish(running->key, FlatFinish::kLength);
  ASSERT_EQ(worker->submits.size(), 2u);
  EXPECT_EQ(worker->submits[1].header.deadline_ns, 0u);
  router->AbortAll();
}

// A worker thread that answers every request with its own prompt's bytes, readers and cancellers on
// others.
class EchoingWorker : public WorkerPort {
 public:
  EchoingWorker(Router& router, size_t group) : router_(router), group_(group) {
    thread_ = std::thread([this] { Run(); });
  }
  ~EchoingWorker() override {
    stop_ = true;
    thread_.join();
  }
  void Send(const Submit& message) override {
    std::lock_guard lock(mutex_);
    running_.push_back({message, 0, false});
  }
  void Send(const shardline::Cancel& message) override {
    std::lock_guard lock(mutex_);
    std::erase_if(running_, [&](const Job& job) { return job.submit.header.key == message.key; });
  }
  void Send(const Pause& message) override { SetPaused(message.key, true); }
  void Send(const Resume& message) override { SetPaused(message.key, false); }

 private:
  struct Job {
    Submit submit;
    uint32_t said;
    bool paused;
  };
  void SetPaused(RequestKey key, bool paused) {
    std::lock_guard lock(mutex_);
    for (Job& job : running_) {
      if (job.submit.header.key == key) job.paused = paused;
    }
  }
  void Run() {
    for (uint64_t step = 1; !stop_; ++step) {
      std::vector<Tokens> said;
      std::vector<Finished> finished;
      size_t running = 0;
      {
        std::lock_guard lock(mutex_);
        for (Job& job : running_) {
          if (job.paused) continue;
          Tokens tokens;
          tokens.header.key = job.submit.header.key;
          tokens.header.first_index = job.said;
          tokens.tokens = {{.id = job.submit.prompt[job.said], .logprob = NAN}};
          said.push_back(tokens);
          if (++job.said == job.submit.prompt.size()) {
            finished.push_back({.key = job.submit.header.key, .reason = FlatFinish::kLength});
          }
        }
        std::erase_if(running_,
                      [](const Job& job) { return job.said == job.submit.prompt.size(); });
        running = running_.size();
      }
      for (const Tokens& tokens : said) router_.OnMessage(group_, tokens);
      for (const Finished& end : finished) router_.OnMessage(group_, end);
      StepReport report{};
      report.epoch = 1;
      report.step = step;
      report.running_sequences = static_cast<uint32_t>(running);
      router_.OnMessage(group_, report);
      if (said.empty()) std::this_thread::yield();
    }
  }
  Router& router_;
  const size_t group_;
  std::mutex mutex_;
  std::vector<Job> running_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// A disk that takes nothing holds up the one call that ends a request, not the router.
TEST_F(RouterTest, TheTraceIsWrittenOutsideTheLock) {
  const std::string path = testing::TempDir() + "/router_trace_" + std::to_string(getpid());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const int fd = open(path.c_str(), O_RDWR | O_NONBLOCK);
  ASSERT_GE(fd, 0);
  auto trace = Trace::Begin(path, "test");
  ASSERT_TRUE(trace.ok()) << trace.status();
  Start({.trace = trace->get()});
  WorkerUp();
  const auto live = Admit(Request(std::string(100'000, 'x')));  // more than the trace keeps back
  std::vector<char> some(4096, ' ');
  while (write(fd, some.data(), some.size()) > 0) continue;
  std::thread worker([&] { Finish(live->key, FlatFinish::kLength); });
  while (router->live_requests() > 0) std::this_thread::yield();
  EXPECT_EQ(router->state().running, 0u);
  EXPECT_NE(Admit(Request("another")), nullptr);

  std::string written;
  const auto take = [&] {
    const ssize_t count = read(fd, some.data(), some.size());
    if (count > 0) written.append(some.data(), static_cast<size_t>(count));
    return count > 0;
  };
  std::atomic<bool> ended{false};
  std::thread reader([&] {
    while (!ended.load() || take()) take();
  });
  worker.join();
  ended = true;
  reader.join();
  EXPECT_NE(written.find("xxx"), std::string::npos);
  router->Abort("another");
  trace->reset();
  close(fd);
  unlink(path.c_str());
}

TEST_F(RouterTest, ManyReadersAtOnceEachGetTheirOwnAnswer) {
  Start({.groups = 2, .stream = {.max_events = 8, .max_bytes = 1 << 20, .max_event_bytes = 8}});
  ready.header.epoch = 1;
  ready.header.max_sequences = 8;
  ready.header.block_tokens = 16;
  ready.header.kv_blocks_total = 50;
  for (size_t group = 0; group < 2; ++group) {
    router->WorkerReady(group, std::make_shared<EchoingWorker>(*router, group), ready);
  }
  std::atomic<int> whole{0}, cancelled{0};
  std::vector<std::thread> readers;
  for (int r = 0; r < 6; ++r) {
    readers.emplace_back([&, r] {
      std::mt19937 random(static_cast<unsigned>(r));
      for (int i = 0; i < 40; ++i) {
        std::vector<uint32_t> prompt(1 + random() % 60);
        for (uint32_t& id : prompt) id = 'a' + random() % 26;
        const bool cancels = random() % 3 == 0;
        auto live = router->Admit(Request(Cat(r, "-", i), prompt));
        ASSERT_TRUE(live.ok()) << live.status();
        const EventStream::Reader reader = (*live)->stream->Join(1, nullptr)->reader;
        std::vector<uint32_t> got;
        uint64_t seq = 0;
        for (;;) {
          v1::GenerateEvent event;
          const auto next = (*live)->stream->Take(reader, &event);
          if (next == EventStream::Next::kEnd) break;
          if (next == EventStream::Next::kEmpty) {
            std::this_thread::yield();
            continue;
          }
          router->Taken(*live);
          ASSERT_EQ(event.event_seq(), ++seq);
          for (const auto& token : event.tokens().tokens()) got.push_back(token.id());
          if (cancels && got.size() > prompt.size() / 2) {
            router->Leave(*live, reader, Outcome::kCancelled);
          }
        }
        if (!(*live)->stream->end().ok()) {
          ++cancelled;
        } else {
          ASSERT_EQ(got, prompt);
          ++whole;
        }
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(whole + cancelled, 240);
  EXPECT_GT(whole.load(), 100);
  EXPECT_EQ(router->live_requests(), 0u);
  const MetricsSnapshot now = metrics.Snapshot();
  EXPECT_EQ(now.accepted, 240u);
  EXPECT_EQ(Count(Outcome::kLength) + Count(Outcome::kCancelled), 240u);
  for (size_t group = 0; group < 2; ++group) router->WorkerLost(group);
}

}  // namespace
}  // namespace shardline
