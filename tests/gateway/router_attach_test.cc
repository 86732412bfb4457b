// Streams that outlive their calls: detached, joined again, taken over, left by slow readers.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "shared/base/clock.h"
#include "tests/gateway/router_fixture.h"

namespace shardline {
namespace {

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

}  // namespace
}  // namespace shardline
