// `shardline bench` against a scripted server: what it sends, counts and prints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/tools/cli/fake_server.h"
#include "tools/cli/bench_report.h"
#include "tools/cli/json.h"

namespace shardline::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(BenchReport, PercentilesAreSamples) {
  EXPECT_EQ(Percentile({}, 0.5), 0);
  EXPECT_EQ(Percentile({7}, 0.01), 7);
  EXPECT_EQ(Percentile({1, 2, 3, 4}, 0.5), 2);
  EXPECT_EQ(Percentile({1, 2, 3, 4}, 0.51), 3);
  EXPECT_EQ(Percentile({1, 2, 3, 4}, 1), 4);
  std::vector<double> samples;
  for (int i = 100; i >= 1; --i) samples.push_back(i);
  const Spread spread = SpreadOf(samples);
  EXPECT_EQ(spread.p50, 50);
  EXPECT_EQ(spread.p90, 90);
  EXPECT_EQ(spread.p99, 99);
  EXPECT_EQ(spread.max, 100);
  EXPECT_EQ(spread.mean, 50.5);
}

TEST(BenchReport, SumsUp) {
  const BenchResult result = ResultOf({.concurrency = 2}, {.first_token = {0.1, 0.3},
                                                           .inter_token = {0.01},
                                                           .request = {1, 2},
                                                           .errors = {{"a", 2}, {"b", 1}},
                                                           .output_tokens = 30,
                                                           .seconds = 4,
                                                           .cpu_seconds = 1});
  EXPECT_EQ(result.completed, 2u);
  EXPECT_EQ(result.failed, 3u);
  EXPECT_EQ(result.requests_per_second, 0.5);
  EXPECT_EQ(result.tokens_per_second, 7.5);
  EXPECT_EQ(result.client_cpu, 0.25);
  EXPECT_EQ(result.first_token.p99, 0.3);
}

TEST(BenchReport, DrawsEveryLoad) {
  std::vector<BenchResult> results(3);
  for (size_t i = 0; i < 3; ++i) {
    results[i].load.concurrency = 1u << i;
    results[i].tokens_per_second = 100.0 * static_cast<double>(i);
  }
  const std::string svg = BenchSvg({.model = "a<b&c"}, results);
  EXPECT_THAT(svg, StartsWith("<svg xmlns="));
  EXPECT_THAT(svg, HasSubstr("a&lt;b&amp;c"));
  EXPECT_THAT(svg, HasSubstr("<polyline points=\"80.0,370.0 385.0,215.0 690.0,60.0\""));
  EXPECT_THAT(svg, HasSubstr(">output tokens per second<"));
  results.resize(1);
  EXPECT_THAT(BenchSvg({}, results), HasSubstr("points=\"385.0,370.0\""));
}

class BenchTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    script_.model.set_name("tiny");
    script_.model.set_vocabulary_size(10);
    script_.model.set_context_tokens(100);
    script_.answer = [this](grpc::ServerContext& context, const v1::GenerateRequest& request,
                            Script::Writer& writer) {
      Note(request);
      if (stall_after_ > 0 && script_.requests > stall_after_) {
        Script::WaitForCancel(context);
        return grpc::Status::CANCELLED;
      }
      if (!refusal_.ok()) return refusal_;
      const auto wanted = static_cast<int>(request.stopping().max_new_tokens());
      for (int i = 0; i + 1 < wanted; ++i) writer.Write(TextEvent("x"));
      if (!short_) writer.Write(TextEvent("x"));
      writer.Write(FinishEvent(v1::FINISH_REASON_LENGTH, request.stopping().max_new_tokens()));
      return grpc::Status::OK;
    };
  }
  void Note(const v1::GenerateRequest& request) {
    const std::lock_guard lock(mutex_);
    for (const uint32_t id : request.token_ids().ids()) ids_in_range_ &= id < 10;
    prompts_.push_back(request.token_ids().SerializeAsString());
  }

  std::mutex mutex_;
  std::vector<std::string> prompts_;
  bool ids_in_range_ = true;
  bool short_ = false;
  grpc::Status refusal_;
  int stall_after_ = 0;
};

TEST_F(BenchTest, MeasuresAClosedLoop) {
  const std::string plot = testing::TempDir() + "/bench.svg";
  EXPECT_EQ(Call(RunBench, {"--concurrency=1,3", "--requests=6", "--prompt-tokens=20",
                            "--output-tokens=5", "--warm-up=2", "--json", "--plot", plot}),
            kDone)
      << err_;
  EXPECT_EQ(script_.requests, 2 * (2 + 6));
  EXPECT_TRUE(ids_in_range_);
  std::sort(prompts_.begin(), prompts_.end());
  EXPECT_EQ(std::adjacent_find(prompts_.begin(), prompts_.end()), prompts_.end()) << "all differ";
  EXPECT_EQ(script_.last_request.token_ids().ids_size(), 20);
  EXPECT_EQ(script_.last_request.stopping().max_new_tokens(), 5u);
  EXPECT_TRUE(script_.last_request.stopping().ignore_eos());
  const nlohmann::ordered_json json = ParseJson(out_);
  EXPECT_EQ(json["model"], "tiny");
  ASSERT_EQ(json["results"].size(), 2u);
  for (const auto& result : json["results"]) {
    EXPECT_EQ(result["completed"], 6);
    EXPECT_EQ(result["failed"], 0);
    EXPECT_GT(result["output_tokens_per_second"], 0);
    EXPECT_GT(result["time_to_first_token_seconds"]["p50"], 0);
    EXPECT_LE(result["inter_token_latency_seconds"]["p50"],
              result["inter_token_latency_seconds"]["p99"]);
  }
  std::ifstream file(plot);
  EXPECT_THAT(std::string(std::istreambuf_iterator<char>(file), {}), StartsWith("<svg"));

  const std::vector<std::string> first = prompts_;
  prompts_.clear();
  EXPECT_EQ(Call(RunBench, {"--concurrency=1,3", "--requests=6", "--prompt-tokens=20",
                            "--output-tokens=5", "--warm-up=2"}),
            kDone);
  std::sort(prompts_.begin(), prompts_.end());
  EXPECT_EQ(prompts_, first) << "a seed makes the same prompts";
  EXPECT_THAT(out_, StartsWith("CONCURRENCY  REQUESTS  ERRORS "));
}

TEST_F(BenchTest, MeasuresAnOpenLoop) {
  EXPECT_EQ(Call(RunBench, {"--rate=500", "--requests=20", "--output-tokens=2", "--json",
                            "--prompt-tokens=2", "--warm-up=0"}),
            kDone)
      << err_;
  const nlohmann::ordered_json json = ParseJson(out_);
  EXPECT_EQ(json["results"][0]["rate"], 500);
  EXPECT_EQ(json["results"][0]["completed"], 20);
  EXPECT_EQ(script_.requests, 20);
}

TEST_F(BenchTest, CountsErrors) {
  refusal_ = grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "full");
  EXPECT_EQ(Call(RunBench, {"--requests=3", "--prompt-tokens=2", "--output-tokens=2", "--json"}),
            kFailed);
  EXPECT_EQ(err_, "shardline bench: 3 times: RESOURCE_EXHAUSTED: full\n");
  EXPECT_EQ(ParseJson(out_)["results"][0]["failed"], 3);

  refusal_ = grpc::Status::OK;
  short_ = true;
  EXPECT_EQ(Call(RunBench, {"--requests=3", "--prompt-tokens=2", "--output-tokens=4"}), kFailed);
  EXPECT_EQ(err_, "shardline bench: 3 times: 3 instead of 4 tokens\n");
}

TEST_F(BenchTest, CtrlCTellsWhatWasMeasured) {
  stall_after_ = 5;  // one of warm-up, four that count
  std::thread presses([this] {
    for (int i = 0; script_.requests < 6 && i < 10000; ++i) usleep(1000);
    kill(getpid(), SIGINT);
  });
  EXPECT_EQ(Call(RunBench, {"--requests=100", "--prompt-tokens=2", "--output-tokens=4", "--json"}),
            kInterrupted);
  presses.join();
  const nlohmann::ordered_json json = ParseJson(out_);
  EXPECT_EQ(json["results"][0]["completed"], 4);
  EXPECT_EQ(json["results"][0]["failed"], 0);
  EXPECT_EQ(err_, "");
}

TEST_F(BenchTest, RefusesWhatDoesNotFit) {
  const std::pair<Arguments, const char*> cases[] = {
      {{"--concurrency=0"}, "--concurrency: '0' is not a list of whole numbers from 1 to 4096"},
      {{"--concurrency=1,"}, "is not a list"},
      {{"--concurrency=1.5"}, "is not a list"},
      {{"--rate=-1"}, "--rate: '-1' is not a list of numbers above 0"},
      {{"--rate=nan"}, "is not a list"},
      {{"--rate=1", "--concurrency=1"}, "exclude each other"},
      {{"--prompt-tokens=90", "--output-tokens=20"}, "are 110 together; tiny has a context of 100"},
      {{"--output-tokens=0"}, "must be above 0"},
      {{"--requests=4000000000", "--prompt-tokens=1"}, "--requests times --output-tokens"},
      {{"words"}, "unexpected argument"},
  };
  for (const auto& [arguments, expected] : cases) {
    EXPECT_EQ(Call(RunBench, arguments), kBadInput) << arguments[0];
    EXPECT_THAT(err_, HasSubstr(expected));
  }
  EXPECT_EQ(script_.requests, 0);
  EXPECT_EQ(Call(RunBench, {"--requests=1", "--prompt-tokens=1", "--plot=/nonexistent/x.svg"}),
            kFailed);
  EXPECT_THAT(err_, HasSubstr("/nonexistent/x.svg: cannot be written: No such file"));
}

}  // namespace
}  // namespace shardline::cli
