#include "gateway/finished_streams.h"

#include <gtest/gtest.h>

namespace shardline {
namespace {

std::shared_ptr<EventStream> Stream(size_t text_bytes) {
  auto stream = std::make_shared<EventStream>();
  v1::GenerateEvent event;
  event.mutable_tokens()->set_text(std::string(text_bytes, 'x'));
  stream->Push(std::move(event));
  stream->Close();
  return stream;
}

TEST(FinishedStreams, EachUntilItsTimeIsOver) {
  FinishedStreams finished(1 << 20);
  finished.Add("a", Stream(10), 300);
  finished.Add("b", Stream(10), 100);
  finished.Add("c", Stream(10), 200);
  finished.Expire(99);
  EXPECT_EQ(finished.size(), 3u);
  finished.Expire(200);
  EXPECT_EQ(finished.Find("b"), nullptr);
  EXPECT_EQ(finished.Find("c"), nullptr);
  EXPECT_NE(finished.Find("a"), nullptr);
  finished.Remove("a");
  finished.Remove("a");
  EXPECT_EQ(finished.size(), 0u);
  EXPECT_EQ(finished.bytes(), 0u);
}

TEST(FinishedStreams, BoundedInBytesTheNextToGoGoesEarly) {
  FinishedStreams finished(100000);
  for (int i = 0; i < 50; ++i) {
    finished.Add(Cat("r", i), Stream(8000), 1000 - i);
    EXPECT_LE(finished.bytes(), 100000u);
  }
  EXPECT_GT(finished.size(), 5u);
  EXPECT_NE(finished.Find("r0"), nullptr);
  EXPECT_EQ(finished.Find("r49"), nullptr);
  finished.Add("larger than all", Stream(200000), 5000);
  EXPECT_EQ(finished.size(), 0u);
  EXPECT_EQ(finished.bytes(), 0u);
}

TEST(FinishedStreams, ASecondOfTheSameIdReplacesTheFirst) {
  FinishedStreams finished(1 << 20);
  finished.Add("a", Stream(10), 100);
  const auto second = Stream(10);
  finished.Add("a", second, 500);
  finished.Expire(100);
  EXPECT_EQ(finished.Find("a"), second);
  EXPECT_EQ(finished.size(), 1u);
}

}  // namespace
}  // namespace shardline
