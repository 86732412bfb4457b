#include <algorithm>
#include <utility>

#include "gateway/text/detokenizer.h"

namespace shardline {

StopMatcher::StopMatcher(std::vector<std::string> stop_strings)
    : stop_strings_(std::move(stop_strings)), states_(1) {
  for (size_t i = 0; i < stop_strings_.size(); ++i) {
    if (stop_strings_[i].empty()) continue;
    uint32_t state = 0;
    for (const char byte : stop_strings_[i]) {
      uint32_t child = Child(state, byte);
      if (child == 0) {
        child = static_cast<uint32_t>(states_.size());
        states_.push_back({.parent = state,
                           .depth = states_[state].depth + 1,
                           .next_sibling = states_[state].first_child,
                           .byte = byte});
        states_[state].first_child = child;
      }
      state = child;
    }
    if (states_[state].matched < 0) states_[state].matched = static_cast<int32_t>(i);
  }
  // Failure links, shallow states first: the longest proper suffix that is a state too.
  std::vector<uint32_t> order(states_.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [this](uint32_t a, uint32_t b) { return states_[a].depth < states_[b].depth; });
  for (const uint32_t state : order) {
    State& s = states_[state];
    if (s.depth > 1) s.fail = Step(states_[s.parent].fail, s.byte);
    // A stop string that ends inside a longer, unfinished one.
    if (s.matched < 0) s.matched = states_[s.fail].matched;
  }
}

uint32_t StopMatcher::Child(uint32_t state, char byte) const {
  for (uint32_t c = states_[state].first_child; c != 0; c = states_[c].next_sibling) {
    if (states_[c].byte == byte) return c;
  }
  return 0;
}

uint32_t StopMatcher::Step(uint32_t state, char byte) const {
  while (true) {
    if (const uint32_t child = Child(state, byte); child != 0) return child;
    if (state == 0) return 0;
    state = states_[state].fail;
  }
}

StopMatcher::Result StopMatcher::Push(std::string_view text, bool armed) {
  Result result;
  if (finished_) return result;
  if (!armed) {
    result.text = Finish().append(text);
    return result;
  }
  const size_t before = held_.size();
  held_.append(text);
  for (size_t i = before; i < held_.size(); ++i) {
    state_ = Step(state_, held_[i]);
    const int32_t matched = states_[state_].matched;
    if (matched < 0) continue;
    result.matched = static_cast<size_t>(matched);
    result.matched_text = stop_strings_[*result.matched];
    result.text = held_.substr(0, i + 1 - result.matched_text.size());
    held_.clear();
    finished_ = true;
    return result;
  }
  const size_t certain = held_.size() - states_[state_].depth;
  result.text = held_.substr(0, certain);
  held_.erase(0, certain);
  return result;
}

std::string StopMatcher::Finish() {
  state_ = 0;
  return std::exchange(held_, {});
}

}  // namespace shardline
