// Requests through the router, from accepted to their ends: text, queue, slots, errors.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "gateway/field_error.h"
#include "shared/base/clock.h"
#include "tests/gateway/router_fixture.h"

namespace shardline {
namespace {

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

}  // namespace
}  // namespace shardline
