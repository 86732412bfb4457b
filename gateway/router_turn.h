// One turn in the router: its lock, and whose readers to wake and what to do once it is released.
// Private to router*.cc.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "gateway/router.h"

namespace shardline {

// Seconds between two moments of CLOCK_MONOTONIC; 0 if they are the wrong way round.
inline double Seconds(uint64_t from_ns, uint64_t to_ns) {
  return to_ns > from_ns ? static_cast<double>(to_ns - from_ns) * 1e-9 : 0.0;
}

class Router::Turn {
 public:
  explicit Turn(std::mutex& mutex) : lock_(mutex) {}
  ~Turn() {
    lock_.unlock();
    for (const auto& stream : touched_) stream->Notify();
    for (const auto& act : afterwards_) act();
  }
  void Touch(const Live& request) { Touch(request->stream); }
  void Touch(const std::shared_ptr<EventStream>& stream) {
    if (touched_.empty() || touched_.back() != stream) touched_.push_back(stream);
  }
  // What may block: writing to a file.
  void Afterwards(std::function<void()> act) { afterwards_.push_back(std::move(act)); }

 private:
  std::unique_lock<std::mutex> lock_;
  std::vector<std::shared_ptr<EventStream>> touched_;
  std::vector<std::function<void()>> afterwards_;
};

}  // namespace shardline
