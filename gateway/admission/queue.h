// The waiting queue: requests that no worker has yet, bounded by their number and by their prompt
// tokens. Out comes the highest priority, then the one that came first. Not thread-safe; the
// router's lock guards it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>

#include "shared/base/status.h"
#include "shared/ipc/message.h"

namespace shardline {

class AdmissionQueue {
 public:
  struct Limits {
    size_t max_requests = 1024;
    uint64_t max_tokens = 1u << 20;
  };
  explicit AdmissionQueue(Limits limits) : limits_(limits) {}

  // Errors: ResourceExhausted naming the flag whose limit is reached. Keys are unique.
  absl::Status Push(RequestKey key, int32_t priority, uint64_t prompt_tokens);
  // The next one to run; 0 when nothing waits. Keys start at 1.
  RequestKey Front() const;
  // Takes a request out, wherever it stands. False when it is not there.
  bool Remove(RequestKey key);

  size_t size() const { return places_.size(); }
  uint64_t tokens() const { return tokens_; }

 private:
  // Lowest first: negated priority, then arrival.
  using Place = std::pair<int64_t, uint64_t>;
  struct Waiting {
    RequestKey key;
    uint64_t tokens;
  };

  const Limits limits_;
  std::map<Place, Waiting> order_;
  std::unordered_map<RequestKey, Place> places_;
  uint64_t tokens_ = 0;
  uint64_t arrivals_ = 0;
};

}  // namespace shardline
