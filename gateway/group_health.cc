#include "gateway/group_health.h"

#include <algorithm>
#include <utility>

namespace shardline {

GroupHealth::GroupHealth(size_t groups, Events events)
    : events_(std::move(events)), states_(groups, State::kNotStarted) {}

bool GroupHealth::Any(State state) const {
  return std::find(states_.begin(), states_.end(), state) != states_.end();
}

void GroupHealth::Tell() {
  const bool ready = Any(State::kServing) && !draining_;
  const bool live = Any(State::kServing) || !Any(State::kStandsStill);
  if (std::exchange(ready_, ready) != ready) events_.ready(ready);
  if (std::exchange(live_, live) != live) events_.live(live);
}

void GroupHealth::Started(size_t group) {
  std::lock_guard lock(mutex_);
  states_[group] = State::kStarting;
}

void GroupHealth::Ready(size_t group, bool ready) {
  std::lock_guard lock(mutex_);
  State& state = states_[group];
  if (ready) {
    state = State::kServing;
    has_served_ = true;
  } else if (state == State::kServing) {
    state = State::kStarting;  // the next worker
  }
  Tell();
}

// That it is live again is said by its getting ready.
void GroupHealth::Live(size_t group, bool live) {
  std::lock_guard lock(mutex_);
  if (!live) states_[group] = State::kStandsStill;
  Tell();
}

bool GroupHealth::GaveUp(size_t group, int exit_code, const std::string& why) {
  std::lock_guard lock(mutex_);
  if (over_) return true;
  if (exit_code == 2) {
    if (has_served_) return false;  // the flags and the model are good: something else is wrong
  } else {
    states_[group] = State::kFailing;
    if (Any(State::kStarting) || Any(State::kServing) || Any(State::kStandsStill)) return false;
  }
  over_ = true;
  events_.gave_up(exit_code, why);
  return true;
}

void GroupHealth::StartDraining() {
  std::lock_guard lock(mutex_);
  draining_ = true;
  Tell();
}

}  // namespace shardline
