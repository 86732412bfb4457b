// One turn in the router: its lock, and whose readers to wake once it is released. Private to
// router*.cc.
#pragma once

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
    for (const Live& request : touched_) request->stream->Notify();
  }
  void Touch(const Live& request) {
    if (touched_.empty() || touched_.back() != request) touched_.push_back(request);
  }

 private:
  std::unique_lock<std::mutex> lock_;
  std::vector<Live> touched_;
};

}  // namespace shardline
