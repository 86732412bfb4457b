// The worker as a process: start, answers, signals, ends; and that a request's bits do not depend
// on company, chunks, threads or preemption.
#include <signal.h>

#include <array>
#include <cstring>
#include <random>

#include "tests/worker/engine/submits.h"
#include "tests/worker/worker_under_test.h"

namespace shardline {
namespace {

const std::string kModel = SHARDLINE_SOURCE_DIR "/tests/golden/llama";
const std::string kContext = "--max-context=128";

// Runs the program by hand; what it said on standard error, and its exit code.
std::pair<std::string, int> RunByHand(const std::string& flags) {
  FILE* pipe = popen((std::string(SHARDLINE_WORKER " ") + flags + " 2>&1 </dev/null").c_str(), "r");
  std::string text;
  std::array<char, 512> buffer;
  while (fgets(buffer.data(), buffer.size(), pipe) != nullptr) text += buffer.data();
  const int status = pclose(pipe);
  return {text, WIFEXITED(status) ? WEXITSTATUS(status) : -1};
}

TEST(WorkerProcess, BadFlagsAreOneLineAndExitTwo) {
  for (const auto& [flags, word] : std::vector<std::pair<std::string, std::string>>{
           {"--model=x", "--channel-fd"},
           {"--channel-fd=3 --epoch=1", "--model"},
           {"--channel-fd=3 --epoch=1 --model=x --dtype=f64", "--dtype"},
           {"--channel-fd=3 --epoch=1 --model=x --device=tpu", "--device"},
           {"--channel-fd=3 --epoch=1 --model=x --ops=none", "--ops"},
           {"--channel-fd=3 --epoch=1 --model=x --max-sequences=0", "--max-sequences"},
           {"--channel-fd=3 --epoch=1 --model=x --max-batch-tokens=0", "--max-batch-tokens"},
           {"--channel-fd=3 --epoch=1 --model=x --threads=-1", "--threads"},
           {"--channel-fd=77 --epoch=1 --model=x", "77"},
           {"--print-spec", "--model"},
           {"--print-spec --model=x --dtype=f64", "--dtype"},
           {"--print-spec --model=/nonexistent", "/nonexistent"}}) {
    const auto [text, code] = RunByHand(flags);
    EXPECT_EQ(code, 2) << flags;
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
    EXPECT_NE(text.find(word), std::string::npos) << text;
  }
}

TEST(WorkerProcess, BadModelsExitTwo) {
  for (const char* model : {"/nonexistent.gguf", SHARDLINE_SOURCE_DIR "/tests/golden",
                            SHARDLINE_SOURCE_DIR "/CMakeLists.txt"}) {
    WorkerUnderTest worker(model);
    EXPECT_FALSE(worker.WaitReady());
    const auto exit = worker.WaitExit();
    ASSERT_TRUE(exit.has_value());
    EXPECT_EQ(Describe(*exit), "exit code 2") << model;
  }
}

TEST(WorkerProcess, TooLittleKvExitsTwo) {
  WorkerUnderTest worker(kModel, {kContext, "--kv-cache-bytes=100"});
  EXPECT_FALSE(worker.WaitReady());
  EXPECT_EQ(worker.WaitExit()->code, 2);
  EXPECT_TRUE(worker.progress.empty());  // no weights were read for nothing
}

TEST(WorkerProcess, TellsWhatItIs) {
  WorkerUnderTest worker(kModel,
                         {kContext, "--dtype=f32", "--max-sequences=3", "--max-batch-tokens=50"});
  ASSERT_TRUE(worker.WaitReady());
  EXPECT_FALSE(worker.progress.empty());
  const Ready& ready = *worker.ready;
  EXPECT_EQ(ready.family, "llama");
  EXPECT_EQ(ready.dtype, "f32");
  EXPECT_EQ(ready.header.epoch, worker.channel->epoch());
  EXPECT_EQ(ready.header.context_tokens, 128u);
  EXPECT_EQ(ready.header.max_sequences, 3u);
  EXPECT_EQ(ready.header.max_batch_tokens, 50u);
  EXPECT_EQ(ready.header.kv_blocks_total, 3u * 128 / 16);
  EXPECT_GT(ready.header.vocabulary_size, 1u);
  EXPECT_GT(ready.header.weight_bytes, 0u);
  EXPECT_FALSE(ready.instruction_set.empty());
  EXPECT_EQ(ready.capabilities, "generate, logprobs, prompt_logprobs");
}

TEST(WorkerProcess, LittleKvMeansAShorterContext) {
  WorkerUnderTest whole(kModel, {kContext, "--dtype=f32", "--max-sequences=1"});
  ASSERT_TRUE(whole.WaitReady());
  const uint64_t block = whole.ready->header.kv_bytes / whole.ready->header.kv_blocks_total;
  WorkerUnderTest worker(kModel,
                         {kContext, "--dtype=f32", Cat("--kv-cache-bytes=", 3 * block + 1)});
  ASSERT_TRUE(worker.WaitReady());
  EXPECT_EQ(worker.ready->header.kv_blocks_total, 3u);
  EXPECT_EQ(worker.ready->header.context_tokens, 48u);
}

TEST(WorkerProcess, ShutdownIsACleanExit) {
  WorkerUnderTest worker(kModel, {kContext});
  ASSERT_TRUE(worker.WaitReady());
  worker.Send(PlainSubmit(1, {1, 2, 3}, 100));
  worker.Send(Shutdown{});
  EXPECT_EQ(Describe(*worker.WaitExit()), "exit code 0");
}

TEST(WorkerProcess, LeavesWhenTheChannelCloses) {
  WorkerUnderTest worker(kModel, {kContext});
  ASSERT_TRUE(worker.WaitReady());
  worker.channel->Close();
  EXPECT_TRUE(worker.WaitExit().has_value());
}

TEST(WorkerProcess, SignalsAreTheGatewaysBusiness) {
  WorkerUnderTest worker(kModel, {kContext});
  ASSERT_TRUE(worker.WaitReady());
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) worker.process.Signal(number);
  worker.Send(PlainSubmit(1, {1, 2, 3}, 4));
  EXPECT_TRUE(worker.WaitFor(1).finished.has_value());
}

TEST(WorkerProcess, NonsenseOnTheChannelExitsOne) {
  for (const auto kind : {MessageKind::kStepReport, MessageKind::kSubmit}) {
    WorkerUnderTest worker(kModel, {kContext});
    ASSERT_TRUE(worker.WaitReady());
    const std::vector<std::byte> nonsense(3, std::byte{0xff});
    ASSERT_TRUE(worker.channel->SendBytes(kind, nonsense, worker.kPatience).ok());
    EXPECT_EQ(Describe(*worker.WaitExit()), "exit code 1");
  }
}

TEST(WorkerProcess, DeathIsNoticed) {
  WorkerUnderTest worker(kModel, {kContext});
  ASSERT_TRUE(worker.WaitReady());
  worker.process.Signal(SIGKILL);
  while (worker.TakeOne()) {
  }
  EXPECT_EQ(worker.channel->peer_status().code(), absl::StatusCode::kUnavailable);
}

// ---- the same bits
// ----------------------------------------------------------------------------------------------

std::vector<Submit> MixedRequests(uint32_t vocabulary) {
  std::mt19937 rng(5);
  std::vector<Submit> submits;
  for (RequestKey key = 1; key <= 8; ++key) {
    Submit submit = PlainSubmit(key, {}, 20 + 4 * key);
    for (uint64_t n = 3 + rng() % 60; n > 0; --n) submit.prompt.push_back(rng() % vocabulary);
    submit.header.flags =
        kIgnoreEos | kWantLogprobs | (key % 2 == 0 ? uint32_t{kWantPromptLogprobs} : 0u);
    submit.header.top_logprobs = 3;
    submit.header.sampling.seed = key;
    submit.header.sampling.temperature = key % 3 == 0 ? 0.0f : 0.8f;
    if (key % 4 == 1) submit.header.sampling.repetition_penalty = 1.2f;
    submits.push_back(submit);
  }
  return submits;
}

template <typename Record>
std::string Bits(const std::vector<Record>& records) {
  return std::string(reinterpret_cast<const char*>(records.data()),
                     records.size() * sizeof(Record));
}

void ExpectSameBits(const WorkerOutcome& got, const WorkerOutcome& expected, RequestKey key) {
  ASSERT_TRUE(got.finished.has_value()) << key << (got.failed ? got.failed->message : "");
  EXPECT_EQ(got.tokens.size(), expected.tokens.size()) << key;
  EXPECT_EQ(Bits(got.tokens), Bits(expected.tokens)) << key;
  EXPECT_EQ(Bits(got.top), Bits(expected.top)) << key;
  EXPECT_EQ(Bits(got.prompt), Bits(expected.prompt)) << key;
}

class SameBits : public ::testing::TestWithParam<const char*> {};

TEST_P(SameBits, AloneTogetherInChunksOnThreadsAndPreempted) {
  const std::string dtype = Cat("--dtype=", GetParam());
  WorkerUnderTest alone(kModel, {kContext, dtype, "--threads=1", "--max-sequences=1"});
  ASSERT_TRUE(alone.WaitReady());
  const std::vector<Submit> submits = MixedRequests(alone.ready->header.vocabulary_size);
  for (const Submit& submit : submits) {
    alone.Send(submit);
    ASSERT_EQ(alone.WaitFor(submit.header.key).tokens.size(), submit.header.max_new_tokens);
  }
  const uint64_t block = alone.ready->header.kv_bytes / alone.ready->header.kv_blocks_total;
  uint64_t preemptions = 0;
  for (const std::vector<std::string>& flags : std::vector<std::vector<std::string>>{
           {"--threads=1"},
           {"--threads=3"},
           {"--threads=2", "--max-batch-tokens=7"},
           {"--threads=2", "--no-kv-cache"},
           {"--threads=2", Cat("--kv-cache-bytes=", 11 * block)}}) {
    std::vector<std::string> all = {kContext, dtype, "--max-sequences=8"};
    all.insert(all.end(), flags.begin(), flags.end());
    WorkerUnderTest worker(kModel, all);
    ASSERT_TRUE(worker.WaitReady());
    for (const Submit& submit : submits) worker.Send(submit);
    for (const Submit& submit : submits) {
      const RequestKey key = submit.header.key;
      ExpectSameBits(worker.WaitFor(key), alone.outcomes[key], key);
    }
    while (worker.report->kv_blocks_used > 0) ASSERT_TRUE(worker.TakeOne());
    preemptions += worker.report->preemptions;
  }
  EXPECT_GT(preemptions, 0u);
}

// What a new worker makes of requests that another one left half done.
TEST_P(SameBits, Resumed) {
  const std::string dtype = Cat("--dtype=", GetParam());
  WorkerUnderTest worker(kModel, {kContext, dtype, "--max-batch-tokens=16"});
  ASSERT_TRUE(worker.WaitReady());
  std::vector<Submit> submits = MixedRequests(worker.ready->header.vocabulary_size);
  for (const Submit& submit : submits) worker.Send(submit);
  for (Submit& submit : submits) {
    const WorkerOutcome whole = worker.WaitFor(submit.header.key);
    const size_t n = submit.header.key * 2;
    for (size_t i = 0; i < n; ++i) submit.emitted.push_back(whole.tokens[i].id);
    submit.header.key += 100;
    worker.Send(submit);
  }
  for (const Submit& submit : submits) {
    const RequestKey key = submit.header.key;
    WorkerOutcome expected = worker.outcomes[key - 100];
    expected.tokens.erase(expected.tokens.begin(), expected.tokens.begin() + submit.emitted.size());
    expected.top.erase(expected.top.begin(), expected.top.begin() + submit.emitted.size() * 3);
    expected.prompt.clear();
    ExpectSameBits(worker.WaitFor(key), expected, key);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, SameBits, ::testing::Values("f32", "bf16", "f16"),
                         [](const auto& info) { return std::string(info.param); });

TEST(WorkerProcess, ReferenceOperationsServe) {
  WorkerUnderTest worker(kModel, {kContext, "--ops=reference", "--dtype=f32"});
  WorkerUnderTest cpu(kModel, {kContext, "--dtype=f32"});
  ASSERT_TRUE(worker.WaitReady());
  ASSERT_TRUE(cpu.WaitReady());
  Submit submit = PlainSubmit(1, {1, 2, 3, 4, 5}, 10);
  submit.header.sampling.temperature = 0;
  submit.header.flags = kIgnoreEos | kWantLogprobs;
  worker.Send(submit);
  cpu.Send(submit);
  const WorkerOutcome& got = worker.WaitFor(1);
  const WorkerOutcome& expected = cpu.WaitFor(1);
  ASSERT_EQ(got.tokens.size(), 10u);
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(got.tokens[i].id, expected.tokens[i].id);
    EXPECT_NEAR(got.tokens[i].logprob, expected.tokens[i].logprob, 1e-4);
  }
}

}  // namespace
}  // namespace shardline
