#include "gateway/admission/queue.h"

namespace shardline {

absl::Status AdmissionQueue::Push(RequestKey key, int32_t priority, uint64_t prompt_tokens) {
  if (places_.size() >= limits_.max_requests) {
    return ResourceExhausted("the queue is full: ", places_.size(),
                             " requests wait (--max-queued-requests)");
  }
  if (prompt_tokens > limits_.max_tokens - tokens_) {
    return ResourceExhausted("the queue is full: ", tokens_, " prompt tokens wait, ", prompt_tokens,
                             " more do not fit (--max-queued-tokens)");
  }
  const Place place{-static_cast<int64_t>(priority), arrivals_++};
  order_.emplace(place, Waiting{key, prompt_tokens});
  places_.emplace(key, place);
  tokens_ += prompt_tokens;
  return absl::OkStatus();
}

RequestKey AdmissionQueue::Front() const { return order_.empty() ? 0 : order_.begin()->second.key; }

bool AdmissionQueue::Remove(RequestKey key) {
  const auto place = places_.find(key);
  if (place == places_.end()) return false;
  const auto waiting = order_.find(place->second);
  tokens_ -= waiting->second.tokens;
  order_.erase(waiting);
  places_.erase(place);
  return true;
}

}  // namespace shardline
