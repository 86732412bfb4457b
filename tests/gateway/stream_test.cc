#include "gateway/stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

namespace shardline {
namespace {

v1::GenerateEvent Token(uint32_t id, const std::string& text, uint32_t output = 0) {
  v1::GenerateEvent event;
  event.mutable_tokens()->set_output_index(output);
  event.mutable_tokens()->add_tokens()->set_id(id);
  event.mutable_tokens()->set_text(text);
  return event;
}

v1::GenerateEvent Done() {
  v1::GenerateEvent event;
  event.mutable_finished()->set_reason(v1::FINISH_REASON_EOS);
  return event;
}

TEST(EventStream, NumbersFromOneWithoutGaps) {
  EventStream stream;
  const EventStream::Reader reader = stream.Join(1, nullptr)->reader;
  stream.Push(Done());
  stream.Push(Done());
  v1::GenerateEvent event;
  ASSERT_EQ(stream.Take(reader, &event), EventStream::Next::kEvent);
  EXPECT_EQ(event.event_seq(), 1u);
  ASSERT_EQ(stream.Take(reader, &event), EventStream::Next::kEvent);
  EXPECT_EQ(event.event_seq(), 2u);
  EXPECT_EQ(stream.Take(reader, &event), EventStream::Next::kEmpty);
  stream.Close();
  EXPECT_EQ(stream.Take(reader, &event), EventStream::Next::kEnd);
  stream.Push(Done());  // too late
  EXPECT_EQ(stream.Take(reader, &event), EventStream::Next::kEnd);
}

TEST(EventStream, OnlyTheNewestUnsentEventOfTheSameOutputGrows) {
  EventStream stream;
  const EventStream::Reader reader = stream.Join(1, nullptr)->reader;
  v1::GenerateEvent event;
  stream.Push(Token(1, "a"));
  stream.Push(Token(2, "b"));
  stream.Push(Token(3, "c", 1));
  stream.Push(Token(4, "d"));
  ASSERT_EQ(stream.Take(reader, &event), EventStream::Next::kEvent);
  EXPECT_EQ(event.tokens().text(), "ab");
  EXPECT_EQ(event.tokens().tokens_size(), 2);
  ASSERT_EQ(stream.Take(reader, &event), EventStream::Next::kEvent);
  EXPECT_EQ(event.tokens().output_index(), 1u);
  ASSERT_EQ(stream.Take(reader, &event), EventStream::Next::kEvent);
  EXPECT_EQ(event.event_seq(), 3u);
  stream.Push(Token(5, "e"));  // the one before has been sent
  ASSERT_EQ(stream.Take(reader, &event), EventStream::Next::kEvent);
  EXPECT_EQ(event.event_seq(), 4u);
  EXPECT_EQ(event.tokens().text(), "e");
  stream.Push(Token(6, "f"));
  stream.Push(Done());
  stream.Push(Token(7, "g"));
  EXPECT_EQ(stream.Take(reader, &event), EventStream::Next::kEvent);
  EXPECT_EQ(event.tokens().text(), "f");
}

TEST(EventStream, IsFullByEventsOrBytesAndDrainsByHalf) {
  EventStream stream({.max_events = 4, .max_bytes = 1 << 20, .max_event_bytes = 1});
  const EventStream::Reader reader = stream.Join(1, nullptr)->reader;
  v1::GenerateEvent event;
  for (uint32_t i = 0; i < 4; ++i) {
    EXPECT_FALSE(stream.full());
    stream.Push(Token(i, "x"));
  }
  EXPECT_TRUE(stream.full());
  stream.Push(Done());  // never refused
  for (int i = 0; i < 2; ++i) stream.Take(reader, &event);
  EXPECT_FALSE(stream.drained());
  stream.Take(reader, &event);
  EXPECT_TRUE(stream.drained());
  EXPECT_EQ(stream.taken(), 3u);

  EventStream bytes({.max_events = 100, .max_bytes = 1000, .max_event_bytes = 400});
  for (uint32_t i = 0; i < 10; ++i) bytes.Push(Token(i, std::string(150, 'x')));
  EXPECT_TRUE(bytes.full());
}

TEST(EventStream, DiscardsWhatNobodyWillRead) {
  EventStream stream;
  const EventStream::Reader reader = stream.Join(1, nullptr)->reader;
  stream.Push(Done());
  stream.Discard(absl::CancelledError("gone"));
  EXPECT_TRUE(absl::IsCancelled(stream.end()));
  EXPECT_EQ(stream.bytes(), 0u);
  v1::GenerateEvent event;
  EXPECT_EQ(stream.Take(reader, &event), EventStream::Next::kEnd);
}

std::vector<std::string> TakeAll(EventStream& stream, EventStream::Reader reader) {
  std::vector<std::string> events;
  v1::GenerateEvent event;
  while (stream.Take(reader, &event) == EventStream::Next::kEvent) {
    events.push_back(event.SerializeAsString());
  }
  return events;
}

TEST(EventStream, WhoJoinsAgainSeesEqualEvents) {
  EventStream stream;
  const EventStream::Reader first = stream.Join(1, nullptr)->reader;
  stream.Push(Token(1, "a"));
  std::vector<std::string> seen = TakeAll(stream, first);
  stream.Push(Token(2, "b"));
  for (std::string& more : TakeAll(stream, first)) seen.push_back(std::move(more));
  stream.Push(Token(3, "c"));
  stream.Push(Token(4, "d"));  // joins the one before, which nobody has been sent

  EventStream::Reader reader = stream.Join(1, nullptr)->reader;
  EXPECT_TRUE(stream.full() == false);
  std::vector<std::string> all = TakeAll(stream, reader);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_TRUE(std::equal(seen.begin(), seen.end(), all.begin()));
  reader = stream.Join(3, nullptr)->reader;  // from the middle
  EXPECT_EQ(TakeAll(stream, reader), std::vector<std::string>{all[2]});
  stream.Push(Done());
  stream.Close();
  reader = stream.Join(4, nullptr)->reader;
  EXPECT_EQ(TakeAll(stream, reader).size(), 1u);
  reader = stream.Join(5, nullptr)->reader;  // nothing is left
  v1::GenerateEvent event;
  EXPECT_EQ(stream.Take(reader, &event), EventStream::Next::kEnd);
  EXPECT_TRUE(absl::IsOutOfRange(stream.Join(6, nullptr).status()));
}

TEST(EventStream, WhatAReaderSkipsMayGrowNoMore) {
  EventStream stream;
  stream.Push(Token(1, "a"));
  stream.Push(Token(2, "b", 1));
  const EventStream::Reader reader = stream.Join(3, nullptr)->reader;
  stream.Push(Token(3, "c", 1));
  v1::GenerateEvent event;
  ASSERT_EQ(stream.Take(reader, &event), EventStream::Next::kEvent);
  EXPECT_EQ(event.event_seq(), 3u);
  EXPECT_EQ(event.tokens().text(), "c");
  const auto all = TakeAll(stream, stream.Join(1, nullptr)->reader);
  EXPECT_EQ(all.size(), 3u);
}

TEST(EventStream, OneReaderAtATime) {
  EventStream stream;
  int woken = 0;
  const EventStream::Reader first = stream.Join(1, [&woken] { ++woken; })->reader;
  stream.Push(Token(1, "a"));
  EventStream::Joined second = *stream.Join(1, nullptr);
  ASSERT_TRUE(second.replaced != nullptr);
  second.replaced();
  EXPECT_EQ(woken, 1);
  v1::GenerateEvent event;
  EXPECT_EQ(stream.Take(first, &event), EventStream::Next::kReplaced);
  EXPECT_FALSE(stream.Leave(first));
  EXPECT_EQ(stream.Take(second.reader, &event), EventStream::Next::kEvent);
  EXPECT_TRUE(stream.Leave(second.reader));
  stream.Notify();
  EXPECT_EQ(woken, 1);
}

TEST(EventStream, KeepsWhatWasSentWithinItsBytes) {
  EventStream stream({.max_event_bytes = 1, .max_sent_bytes = 10000});
  const EventStream::Reader reader = stream.Join(1, nullptr)->reader;
  v1::GenerateEvent event;
  for (uint32_t i = 0; i < 500; ++i) {
    stream.Push(Token(i, std::string(100, 'x')));
    ASSERT_EQ(stream.Take(reader, &event), EventStream::Next::kEvent);
    ASSERT_LE(stream.bytes(), 10000u);
  }
  EXPECT_TRUE(absl::IsOutOfRange(stream.Join(1, nullptr).status()));
  EXPECT_TRUE(absl::IsOutOfRange(stream.Join(400, nullptr).status()));
  const auto kept = TakeAll(stream, stream.Join(460, nullptr)->reader);
  EXPECT_EQ(kept.size(), 41u);
}

// Several outputs take turns, so that no event grows: they may all run on for a while unread.
TEST(EventStream, ManyOutputsDoNotFillItAtOnce) {
  EventStream stream;
  for (uint32_t i = 0; i < 1000; ++i) stream.Push(Token(i, "x", i % 8));
  EXPECT_FALSE(stream.full());
  const size_t bytes = stream.bytes();
  EXPECT_GT(bytes, 1000u * 48);  // what an event takes besides its bytes counts
  const auto all = TakeAll(stream, stream.Join(1, nullptr)->reader);
  EXPECT_EQ(all.size(), 1000u);
  EXPECT_EQ(stream.bytes(), bytes);  // sent or not, an event takes the same
}

TEST(EventStream, WhatWaitsAtTheEndStaysReadable) {
  EventStream stream;
  stream.Push(Token(1, "a"));
  stream.Push(Token(2, "b", 1));
  stream.Push(Token(3, "c", 1));
  stream.Close();
  const auto all = TakeAll(stream, stream.Join(1, nullptr)->reader);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(TakeAll(stream, stream.Join(1, nullptr)->reader), all);
  v1::GenerateEvent last;
  ASSERT_TRUE(last.ParseFromString(all[1]));
  EXPECT_EQ(last.tokens().text(), "bc");
}

// A writer and a reader at their own speeds: the text, the ids and the numbers arrive whole.
TEST(EventStream, ReaderSeesEverythingOnce) {
  EventStream stream({.max_events = 64, .max_bytes = 1 << 20, .max_event_bytes = 128});
  std::atomic<int> wakes{0};
  const EventStream::Reader reader = stream.Join(1, [&wakes] { ++wakes; })->reader;
  constexpr uint32_t kTokens = 20000;
  std::thread writer([&stream] {
    for (uint32_t i = 0; i < kTokens; ++i) {
      stream.Push(Token(i, std::string(1, static_cast<char>('a' + i % 26))));
      stream.Notify();
    }
    stream.Push(Done());
    stream.Close();
    stream.Notify();
  });
  uint32_t next_id = 0;
  uint64_t seq = 0;
  size_t text = 0;
  bool finished = false;
  for (;;) {
    v1::GenerateEvent event;
    const auto next = stream.Take(reader, &event);
    if (next == EventStream::Next::kEnd) break;
    if (next == EventStream::Next::kEmpty) {
      std::this_thread::yield();
      continue;
    }
    ASSERT_EQ(event.event_seq(), ++seq);
    for (const auto& token : event.tokens().tokens()) ASSERT_EQ(token.id(), next_id++);
    text += event.tokens().text().size();
    finished = event.has_finished();
  }
  writer.join();
  EXPECT_EQ(next_id, kTokens);
  EXPECT_EQ(text, kTokens);
  EXPECT_TRUE(finished);
  EXPECT_GT(wakes.load(), 0);
  EXPECT_LE(seq, kTokens + 1u);
}

}  // namespace
}  // namespace shardline
