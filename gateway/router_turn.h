// One turn in the router: its lock, and whose readers to wake once it is released. Private to router*.cc.
#pragma once

#include "gateway/router.h"

namespace shardline {

class Router::Turn {
 public:
  explicit Turn(std::mutex& mutex) : lock_(mutex) {}
  ~Turn() {
    lock_.unlock();
    for (const Live& request : touched_) request->stream.Notify();
  }
  void Touch(const Live& request) {
    if (touched_.empty() || touched_.back() != request) touched_.push_back(request);
  }

 private:
  std::unique_lock<std::mutex> lock_;
  std::vector<Live> touched_;
};

}  // namespace shardline
