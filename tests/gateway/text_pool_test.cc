// The two threads for the text work of large requests: everything posted runs once, and there is a
// bound.
#include "gateway/text_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>
#include <vector>

namespace shardline {
namespace {

TEST(TextPool, RunsWhatSeveralThreadsPost) {
  std::atomic<int> ran{0}, taken{0};
  {
    TextPool pool;
    std::vector<std::thread> posters;
    for (int i = 0; i < 4; ++i) {
      posters.emplace_back([&] {
        for (int k = 0; k < 500; ++k) {
          if (pool.Post([&ran] { ++ran; })) ++taken;
        }
      });
    }
    for (std::thread& poster : posters) poster.join();
  }  // ends when what waits has run
  EXPECT_GT(taken, 0);
  EXPECT_EQ(ran, taken);
}

TEST(TextPool, RefusesWhatIsTooMuch) {
  std::promise<void> started, gate;
  std::shared_future<void> opened = gate.get_future().share();
  TextPool pool(1);
  ASSERT_TRUE(pool.Post([&] {
    started.set_value();
    opened.wait();
  }));
  started.get_future().wait();
  int ran = 0;  // plain: one thread runs them all, and Stop() joins it
  for (size_t i = 0; i < TextPool::kMaxWaiting; ++i) ASSERT_TRUE(pool.Post([&ran] { ++ran; }));
  EXPECT_FALSE(pool.Post([&ran] { ++ran; }));
  gate.set_value();
  pool.Stop();
  EXPECT_EQ(ran, static_cast<int>(TextPool::kMaxWaiting));
  EXPECT_FALSE(pool.Post([&ran] { ++ran; }));
  pool.Stop();  // a second time does no harm
}

}  // namespace
}  // namespace shardline
