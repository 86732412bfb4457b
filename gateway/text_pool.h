// Two threads for the text work of large requests (tokenising megabytes takes seconds), so that
// gRPC's own few threads stay free for everyone else.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace shardline {

class TextPool {
 public:
  // Requests up to this size are worked on where they arrive: a few milliseconds at most.
  static constexpr size_t kInlineBytes = size_t{32} << 10;
  static constexpr size_t kMaxWaiting = 256;

  explicit TextPool(int threads = 2);
  ~TextPool() { Stop(); }

  // Runs `work` soon, on another thread. False when too much waits already or the pool has stopped;
  // `work` is then not run.
  bool Post(std::function<void()> work);
  // Runs what waits and joins the threads.
  void Stop();

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> waiting_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace shardline
