// What the worker groups' fortunes come to for the gateway as a whole:
//   ready    a group serves, and the gateway is not draining
//   live     unless a group stands still and none serves: while one does, the gateway need not be
//            started again from outside
//   over     when no group can be expected to serve: each has failed too often, or a worker found
//            its flags or model wrong before any had served
// Thread-safe: each group's supervisor calls from its own thread.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace shardline {

class GroupHealth {
 public:
  // What has changed; at first it is live and not ready. Called under the lock, so in the order of
  // what they mean; must not call back.
  struct Events {
    std::function<void(bool ready)> ready;
    std::function<void(bool live)> live;
    std::function<void(int exit_code, std::string why)> gave_up;
  };
  GroupHealth(size_t groups, Events events);

  void Started(size_t group);  // from now on it may come to serve
  void Ready(size_t group, bool ready);
  void Live(size_t group, bool live);
  // Its worker ended with code 2, or has failed to start too often (1). True: it is over, and
  // gave_up has been called once; false: the group should be tried again.
  bool GaveUp(size_t group, int exit_code, const std::string& why);
  void StartDraining();  // not ready from now on

 private:
  enum class State { kNotStarted, kStarting, kServing, kStandsStill, kFailing };
  bool Any(State state) const;
  void Tell();

  const Events events_;
  std::mutex mutex_;
  std::vector<State> states_;
  bool ready_ = false, live_ = true;  // as told
  bool has_served_ = false, draining_ = false, over_ = false;
};

}  // namespace shardline
