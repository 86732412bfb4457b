// A fixed set of threads that run one function over indices together; the calling thread takes
// part. Threads spin a few microseconds between calls, then sleep on a futex.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace shardline {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // at least 1, counting the caller
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;
  // Calls task(part, parts) once for each part in [0, parts), parts == size(); returns when all are
  // done. Not re-entrant. The task must not throw.
  void Run(const std::function<void(int part, int parts)>& task);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shardline
