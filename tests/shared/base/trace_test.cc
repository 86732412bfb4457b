#include "shared/base/trace.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

namespace shardline {
namespace {

using Json = nlohmann::json;

class TraceTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path); }
  Json Read() const {
    std::ifstream file(path);
    return Json::parse(file);
  }
  const std::string path = testing::TempDir() + "trace_test.json";
};

TEST_F(TraceTest, EventsOfTwoProcessesMakeOneArray) {
  auto first = Trace::Begin(path, "first");
  ASSERT_TRUE(first.ok()) << first.status();
  {
    auto second = Trace::Join(path, "second");
    ASSERT_TRUE(second.ok()) << second.status();
    (*second)->Span("step", 1'234'567, 2'000'000, TraceArguments().Add("tokens", 7));
  }
  const std::vector<uint64_t> keys = {3, 4};
  (*first)->AsyncSpan("queue", 9, 1000, 3500, TraceArguments().Add("keys", keys));
  (*first)->Instant("death", 5000);
  (*first)->End();
  (*first)->Instant("too late", 6000);
  first->reset();

  const Json events = Read();
  ASSERT_EQ(events.size(), 7u);  // with a name for each process, the first one's twice
  EXPECT_EQ(events[0]["ph"], "M");
  EXPECT_EQ(events[0]["args"]["name"], "first");
  EXPECT_EQ(events[1]["args"]["name"], "second");
  EXPECT_EQ(events[2]["name"], "step");
  EXPECT_EQ(events[2]["ph"], "X");
  EXPECT_DOUBLE_EQ(events[2]["ts"].get<double>(), 1234.567);
  EXPECT_DOUBLE_EQ(events[2]["dur"].get<double>(), 765.433);
  EXPECT_EQ(events[2]["args"]["tokens"], 7);
  EXPECT_EQ(events[3]["ph"], "b");
  EXPECT_EQ(events[4]["ph"], "e");
  EXPECT_EQ(events[3]["id"], events[4]["id"]);
  EXPECT_EQ(events[3]["args"]["keys"], Json({3, 4}));
  EXPECT_EQ(events[5]["ph"], "i");
}

TEST_F(TraceTest, TextIsEscaped) {
  auto trace = Trace::Begin(path, "p");
  ASSERT_TRUE(trace.ok());
  const std::string hostile = "a\"b\\c\nd\x01\xC3\xA9";
  (*trace)->Instant(hostile, 1, TraceArguments().Add(hostile, hostile));
  (*trace)->End();
  EXPECT_EQ(Read()[1]["name"], hostile);
  EXPECT_EQ(Read()[1]["args"][hostile], hostile);
}

TEST_F(TraceTest, ThreadsDoNotWriteIntoEachOthersLines) {
  auto trace = Trace::Begin(path, "p");
  ASSERT_TRUE(trace.ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&trace] {
      for (uint64_t i = 0; i < 2000; ++i) (*trace)->Span("work", i, i + 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  (*trace)->End();
  EXPECT_EQ(Read().size(), 8002u);
}

TEST_F(TraceTest, APathThatCannotBeWrittenIsNamed) {
  const auto trace = Trace::Begin("/nonexistent/trace.json", "p");
  ASSERT_FALSE(trace.ok());
  EXPECT_NE(Message(trace.status()).find("/nonexistent/trace.json"), std::string::npos);
  EXPECT_FALSE(Trace::Join("/nonexistent/trace.json", "p").ok());
  EXPECT_FALSE(Trace::Begin("/dev/full", "p").ok());
}

}  // namespace
}  // namespace shardline
