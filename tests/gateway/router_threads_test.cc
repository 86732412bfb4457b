// The router under many threads: readers and cancellers, a worker that answers, a trace's slow
// disk.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "shared/base/trace.h"
#include "tests/gateway/router_fixture.h"

namespace shardline {
namespace {

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
