// The supervisor with real child processes that only pretend to have a model.
#include "gateway/supervisor.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <condition_variable>
#include <thread>

#include "shared/base/clock.h"
#include "tests/gateway/fake_tokenizer.h"

namespace shardline {
namespace {

using std::chrono::seconds;

class SupervisorTest : public testing::Test {
 protected:
  // `modes`: of the first worker, the second, …; the last one holds for the rest. With several
  // ranks they are rank 0's; `follower_modes` are those of the others.
  void Start(std::vector<std::string> modes, double step_limit_seconds = 60,
             double load_limit_seconds = 60, int group = 0, int replicas = 1) {
    router = std::make_unique<Router>(
        Router::Options{.groups = static_cast<size_t>(replicas), .eos_ids = {FakeTokenizer::kEos}},
        &tokenizer, &metrics);
    Supervisor::Options options;
    options.group = group;
    options.replicas = replicas;
    options.program = FAKE_WORKER;
    options.ranks = follower_modes.empty() ? 1 : 2;
    options.arguments = [modes, replicas, followers = follower_modes](uint64_t epoch, int rank) {
      const size_t start = (epoch - 1) / static_cast<size_t>(replicas);
      const std::vector<std::string>& own = rank == 0 ? modes : followers;
      return std::vector<std::string>{Cat("--epoch=", epoch), own[std::min(start, own.size() - 1)]};
    };
    options.step_limit_seconds = step_limit_seconds;
    options.load_limit_seconds = load_limit_seconds;
    options.first_backoff_seconds = 0.01;
    supervisor = std::make_unique<Supervisor>(
        options,
        Supervisor::Events{
            .readiness = [this](bool ready) { Change([&] { is_ready = ready; }); },
            .liveness = [this](bool live) { Change([&] { lives.push_back(live); }); },
            .gave_up =
                [this](int code, std::string why) {
                  Change([&] {
                    exit_code = code;
                    reason = why;
                  });
                  return !others_serve;
                }},
        router.get(), &metrics);
    supervisor->Start();
  }
  void TearDown() override {
    if (supervisor != nullptr) supervisor->Stop();
  }

  template <typename F>
  void Change(F change) {
    {
      std::lock_guard lock(mutex);
      change();
    }
    changed.notify_all();
  }
  template <typename F>
  bool Await(F condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, seconds(30), condition);
  }
  bool AwaitReady() {
    return Await([this] { return is_ready; });
  }

  std::shared_ptr<LiveRequest> Ask(std::vector<uint32_t> prompt) {
    Admission admission;
    admission.id = Cat("request-", ++asked);
    admission.submit.prompt = std::move(prompt);
    admission.submit.header.outputs = 1;
    admission.submit.header.max_new_tokens = 100;
    auto live = router->Admit(std::move(admission));
    EXPECT_TRUE(live.ok()) << live.status();
    return live.ok() ? *live : nullptr;
  }
  // Reads to the end; false when that takes too long.
  static bool ReadAll(LiveRequest& live, std::vector<v1::GenerateEvent>& events) {
    // Shared with the listener, which may be running while the reader leaves.
    struct Bell {
      std::mutex mutex;
      std::condition_variable rung;
      bool wake = false;
    };
    const auto bell = std::make_shared<Bell>();
    const auto joined = live.stream->Join(1, [bell] {
      std::lock_guard lock(bell->mutex);
      bell->wake = true;
      bell->rung.notify_all();
    });
    if (!joined.ok()) return false;
    bool ended = false;
    for (const auto limit = Clock::now() + seconds(30); !ended && Clock::now() < limit;) {
      v1::GenerateEvent event;
      switch (live.stream->Take(joined->reader, &event)) {
        case EventStream::Next::kEvent:
          events.push_back(event);
          break;
        case EventStream::Next::kReplaced:
          return false;
        case EventStream::Next::kEnd:
          ended = true;
          break;
        case EventStream::Next::kEmpty: {
          std::unique_lock lock(bell->mutex);
          bell->rung.wait_for(lock, std::chrono::milliseconds(50), [&] { return bell->wake; });
          bell->wake = false;
        }
      }
    }
    live.stream->Leave(joined->reader);
    return ended;
  }

  std::vector<std::string> follower_modes;  // empty: there are none
  FakeTokenizer tokenizer;
  Metrics metrics;
  std::unique_ptr<Router> router;
  std::unique_ptr<Supervisor> supervisor;
  std::mutex mutex;
  std::condition_variable changed;
  bool is_ready = false;
  std::vector<bool> lives;    // what was said of liveness
  bool others_serve = false;  // then it goes on trying
  int exit_code = 0;
  std::string reason;
  int asked = 0;
};

TEST_F(SupervisorTest, ServesAndStops) {
  Start({"serve"});
  ASSERT_TRUE(AwaitReady());
  std::vector<v1::GenerateEvent> events;
  ASSERT_TRUE(ReadAll(*Ask({'h', 'e', 'y'}), events));
  EXPECT_EQ(events.back().finished().reason(), v1::FINISH_REASON_LENGTH);
  std::string text;
  for (const auto& event : events) text += event.tokens().text();
  EXPECT_EQ(text, "hey");
  EXPECT_EQ(router->state().ready.family, "fake");
  supervisor->Stop();
  EXPECT_EQ(exit_code, 0);
  EXPECT_EQ(metrics.Snapshot().worker_restarts, 0u);
}

TEST_F(SupervisorTest, AKilledWorkerEndsItsStreamsAndTheNextOneServes) {
  Start({"serve"});
  ASSERT_TRUE(AwaitReady());
  std::vector<v1::GenerateEvent> events;
  ASSERT_TRUE(ReadAll(*Ask({99, 'a', 'b', 'c'}), events));
  EXPECT_EQ(events.back().error().code(), v1::ERROR_CODE_WORKER_LOST);
  EXPECT_TRUE(events.back().error().retryable());
  ASSERT_TRUE(Await([this] { return is_ready && router->state().ready.header.epoch == 2; }));
  events.clear();
  ASSERT_TRUE(ReadAll(*Ask({'o', 'k'}), events));
  EXPECT_TRUE(events.back().has_finished());
  EXPECT_EQ(metrics.Snapshot().worker_restarts, 1u);
}

TEST_F(SupervisorTest, ABadModelEndsTheGatewayWithTwo) {
  Start({"exit2"});
  ASSERT_TRUE(Await([this] { return exit_code != 0; }));
  EXPECT_EQ(exit_code, 2);
  EXPECT_FALSE(is_ready);
}

TEST_F(SupervisorTest, AWorkerThatNeverStartsIsGivenUp) {
  Start({"crash"});
  ASSERT_TRUE(Await([this] { return exit_code != 0; }));
  EXPECT_EQ(exit_code, 1);
  EXPECT_NE(reason.find("5 times"), std::string::npos) << reason;
  EXPECT_NE(reason.find("SIGKILL"), std::string::npos) << reason;
}

TEST_F(SupervisorTest, AFailedStartIsTriedAgain) {
  Start({"crash", "exit2x", "serve"});  // an unknown mode serves as well
  ASSERT_TRUE(AwaitReady());
  EXPECT_GE(metrics.Snapshot().worker_restarts, 1u);
}

TEST_F(SupervisorTest, AReplicaServesItsGroupUnderEpochsOfItsOwn) {
  Start({"crash", "serve"}, 60, 60, /*group=*/1, /*replicas=*/3);
  ASSERT_TRUE(AwaitReady());
  EXPECT_EQ(router->state().ready.header.epoch, 5u);  // 2 crashed
  EXPECT_TRUE(router->state().groups[1].serves);
  EXPECT_FALSE(router->state().groups[0].serves);
  const auto killed = Ask({99, 'a', 'b', 'c'});
  EXPECT_EQ(killed->group, 1u);
  std::vector<v1::GenerateEvent> events;
  ASSERT_TRUE(ReadAll(*killed, events));
  EXPECT_EQ(events.back().error().code(), v1::ERROR_CODE_WORKER_LOST);
  ASSERT_TRUE(Await([this] { return is_ready && router->state().ready.header.epoch == 8; }));
}

TEST_F(SupervisorTest, AReplicaThatFailsTooOftenIsTriedAgainWhileOthersServe) {
  others_serve = true;
  Start({"exit2", "crash", "crash", "crash", "crash", "exit2", "crash", "serve"});
  ASSERT_TRUE(AwaitReady());
  EXPECT_NE(reason.find("7 times"), std::string::npos) << reason;
  EXPECT_EQ(metrics.Snapshot().worker_restarts, 7u);
}

TEST_F(SupervisorTest, AProgramThatIsNotThereIsNamed) {
  router = std::make_unique<Router>(Router::Options{}, &tokenizer, &metrics);
  Supervisor::Options options;
  options.program = "/nonexistent/shardline-worker";
  options.arguments = [](uint64_t, int) { return std::vector<std::string>(); };
  options.first_backoff_seconds = 0.01;
  supervisor =
      std::make_unique<Supervisor>(options,
                                   Supervisor::Events{.readiness = [](bool) {},
                                                      .liveness = [](bool) {},
                                                      .gave_up =
                                                          [this](int code, std::string why) {
                                                            Change([&] {
                                                              exit_code = code;
                                                              reason = why;
                                                            });
                                                            return true;
                                                          }},
                                   router.get(), &metrics);
  supervisor->Start();
  ASSERT_TRUE(Await([this] { return exit_code != 0; }));
  EXPECT_EQ(exit_code, 1);
  EXPECT_NE(reason.find("/nonexistent/shardline-worker"), std::string::npos) << reason;
}

TEST_F(SupervisorTest, AWorkerThatFinishesNoStepIsReplaced) {
  Start({"hang", "serve"}, /*step_limit_seconds=*/0.3);
  ASSERT_TRUE(AwaitReady());
  std::vector<v1::GenerateEvent> events;
  ASSERT_TRUE(ReadAll(*Ask({'a'}), events));
  EXPECT_EQ(events.back().error().code(), v1::ERROR_CODE_WORKER_LOST);
  ASSERT_TRUE(Await([this] { return is_ready && router->state().ready.header.epoch == 2; }));
  EXPECT_EQ(lives, (std::vector<bool>{true, false, true}));
}

TEST_F(SupervisorTest, AWorkerThatStopsLoadingIsReplaced) {
  Start({"stall", "serve"}, 60, /*load_limit_seconds=*/0.3);
  ASSERT_TRUE(AwaitReady());
  EXPECT_GE(router->state().ready.header.epoch, 2u);
  EXPECT_FALSE(lives.front());
  EXPECT_TRUE(lives.back());
}

TEST_F(SupervisorTest, TheProgressOfRanksIsToldAndMeasured) {
  testing::internal::CaptureStderr();
  follower_modes = {"follow"};
  Start({"serve"}, 60, 60, /*group=*/1, /*replicas=*/2);
  EXPECT_TRUE(AwaitReady());
  const auto measured = [this] {
    const auto phases = metrics.Snapshot().startup_seconds;
    return phases.contains("load_rank_0") && phases.contains("load_rank_1");
  };
  for (const auto limit = Clock::now() + seconds(30); !measured() && Clock::now() < limit;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(measured());
  supervisor->Stop();
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("loading of replica 1: pretending 0 % (0 of 2 ranks done)\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("loading of replica 1: pretending 100 % (2 of 2 ranks done)\n"),
            std::string::npos)
      << text;
}

// How one of two ranks is lost while the other waits for it.
struct Loss {
  std::string leader, follower;
};
class LostWhileLoading : public SupervisorTest, public testing::WithParamInterface<Loss> {};

// At the first start and at a later one; a request that waits all the while is answered after it.
TEST_P(LostWhileLoading, TheGroupStartsAgain) {
  const auto& [leader, follower] = GetParam();
  follower_modes = {follower, "follow", follower, "follow"};
  Start({leader, "hang", leader, "serve"}, 60, /*load_limit_seconds=*/1);
  ASSERT_TRUE(AwaitReady());
  EXPECT_GE(router->state().ready.header.epoch, 2u);

  std::vector<std::shared_ptr<LiveRequest>> running;
  for (int i = 0; i < 4; ++i) running.push_back(Ask({'a'}));
  const auto kills = Ask({99}), waits = Ask({'o', 'k'});
  ASSERT_EQ(router->state().queued, 2u);
  ASSERT_EQ(router->Abort(running.back()->id), 1u);
  running.back() = kills;
  for (const auto& request : running) {
    std::vector<v1::GenerateEvent> events;
    ASSERT_TRUE(ReadAll(*request, events));
    EXPECT_EQ(events.back().error().code(), v1::ERROR_CODE_WORKER_LOST);
  }
  std::vector<v1::GenerateEvent> events;
  ASSERT_TRUE(ReadAll(*waits, events));
  EXPECT_EQ(events.back().finished().reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(events.back().finished().usage().output_tokens(), 2u);
  EXPECT_GE(router->state().ready.header.epoch, 4u);
  EXPECT_GE(metrics.Snapshot().worker_restarts, 3u);
  EXPECT_EQ(exit_code, 0);
}
INSTANTIATE_TEST_SUITE_P(OfEachRank, LostWhileLoading,
                         testing::Values(Loss{"die", "follow"}, Loss{"halt", "follow"},
                                         Loss{"stall", "die"}, Loss{"stall", "halt"},
                                         Loss{"die_late", "follow"}, Loss{"follow", "die_late"},
                                         Loss{"follow", "halt_late"}),
                         [](const auto& info) {
                           return Cat(info.param.leader, "_", info.param.follower);
                         });

TEST_F(SupervisorTest, AWorkerThatIsAtALongStepIsLeftAlone) {
  Start({"slow"}, /*step_limit_seconds=*/3);
  ASSERT_TRUE(AwaitReady());
  std::vector<v1::GenerateEvent> events;
  ASSERT_TRUE(ReadAll(*Ask({'a'}), events));
  EXPECT_TRUE(events.back().has_finished());
}

TEST_F(SupervisorTest, AWorkerThatSendsNonsenseIsReplaced) {
  Start({"nonsense", "serve"});
  ASSERT_TRUE(Await([this] { return is_ready && router->state().ready.header.epoch == 2; }));
  std::vector<v1::GenerateEvent> events;
  ASSERT_TRUE(ReadAll(*Ask({'a'}), events));
  EXPECT_TRUE(events.back().has_finished());
}

}  // namespace
}  // namespace shardline
