#include "gateway/stream.h"

#include <gtest/gtest.h>

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
  stream.Push(Done());
  stream.Push(Done());
  v1::GenerateEvent event;
  ASSERT_EQ(stream.Take(&event), EventStream::Next::kEvent);
  EXPECT_EQ(event.event_seq(), 1u);
  ASSERT_EQ(stream.Take(&event), EventStream::Next::kEvent);
  EXPECT_EQ(event.event_seq(), 2u);
  EXPECT_EQ(stream.Take(&event), EventStream::Next::kEmpty);
  stream.Close(false);
  EXPECT_EQ(stream.Take(&event), EventStream::Next::kEnd);
  stream.Push(Done());  // too late
  EXPECT_EQ(stream.Take(&event), EventStream::Next::kEnd);
}

TEST(EventStream, OnlyTheNewestUnsentEventOfTheSameOutputGrows) {
  EventStream stream;
  v1::GenerateEvent event;
  stream.Push(Token(1, "a"));
  stream.Push(Token(2, "b"));
  stream.Push(Token(3, "c", 1));
  stream.Push(Token(4, "d"));
  ASSERT_EQ(stream.Take(&event), EventStream::Next::kEvent);
  EXPECT_EQ(event.tokens().text(), "ab");
  EXPECT_EQ(event.tokens().tokens_size(), 2);
  ASSERT_EQ(stream.Take(&event), EventStream::Next::kEvent);
  EXPECT_EQ(event.tokens().output_index(), 1u);
  ASSERT_EQ(stream.Take(&event), EventStream::Next::kEvent);
  EXPECT_EQ(event.event_seq(), 3u);
  stream.Push(Token(5, "e"));  // the one before has been sent
  ASSERT_EQ(stream.Take(&event), EventStream::Next::kEvent);
  EXPECT_EQ(event.event_seq(), 4u);
  EXPECT_EQ(event.tokens().text(), "e");
  stream.Push(Token(6, "f"));
  stream.Push(Done());
  stream.Push(Token(7, "g"));
  EXPECT_EQ(stream.Take(&event), EventStream::Next::kEvent);
  EXPECT_EQ(event.tokens().text(), "f");
}

TEST(EventStream, IsFullByEventsOrBytesAndDrainsByHalf) {
  EventStream stream({.max_events = 4, .max_bytes = 1 << 20, .max_event_bytes = 1});
  v1::GenerateEvent event;
  for (uint32_t i = 0; i < 4; ++i) {
    EXPECT_FALSE(stream.full());
    stream.Push(Token(i, "x"));
  }
  EXPECT_TRUE(stream.full());
  stream.Push(Done());  // never refused
  for (int i = 0; i < 2; ++i) stream.Take(&event);
  EXPECT_FALSE(stream.drained());
  stream.Take(&event);
  EXPECT_TRUE(stream.drained());
  EXPECT_EQ(stream.taken(), 3u);

  EventStream bytes({.max_events = 100, .max_bytes = 1000, .max_event_bytes = 400});
  for (uint32_t i = 0; i < 10; ++i) bytes.Push(Token(i, std::string(150, 'x')));
  EXPECT_TRUE(bytes.full());
}

TEST(EventStream, DiscardsWhatNobodyWillRead) {
  EventStream stream;
  stream.Push(Done());
  stream.Close(true);
  v1::GenerateEvent event;
  EXPECT_EQ(stream.Take(&event), EventStream::Next::kEnd);
}

// A writer and a reader at their own speeds: the text, the ids and the numbers arrive whole.
TEST(EventStream, ReaderSeesEverythingOnce) {
  EventStream stream({.max_events = 64, .max_bytes = 1 << 20, .max_event_bytes = 128});
  std::atomic<int> wakes{0};
  stream.SetListener([&wakes] { ++wakes; });
  constexpr uint32_t kTokens = 20000;
  std::thread writer([&stream] {
    for (uint32_t i = 0; i < kTokens; ++i) {
      stream.Push(Token(i, std::string(1, static_cast<char>('a' + i % 26))));
      stream.Notify();
    }
    stream.Push(Done());
    stream.Close(false);
    stream.Notify();
  });
  uint32_t next_id = 0;
  uint64_t seq = 0;
  size_t text = 0;
  bool finished = false;
  for (;;) {
    v1::GenerateEvent event;
    const auto next = stream.Take(&event);
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
