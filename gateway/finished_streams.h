// The streams of requests that have ended, for readers that join late: each until its time is over,
// all of them bounded in bytes (the one that would go first goes early). Not thread-safe; the
// router's lock guards it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "gateway/stream.h"

namespace shardline {

class FinishedStreams {
 public:
  explicit FinishedStreams(size_t max_bytes) : max_bytes_(max_bytes) {}

  // `stream` is closed. A stream of the same id gives way to it.
  void Add(const std::string& id, std::shared_ptr<EventStream> stream, uint64_t expires_ns);
  std::shared_ptr<EventStream> Find(const std::string& id) const;  // null: none
  void Remove(const std::string& id);
  void Expire(uint64_t now_ns);

  size_t size() const { return kept_.size(); }
  size_t bytes() const { return bytes_; }

 private:
  using Place = std::pair<uint64_t, uint64_t>;  // expiry, then order of arrival
  struct Kept {
    std::shared_ptr<EventStream> stream;
    size_t bytes;
    Place place;
  };

  const size_t max_bytes_;
  std::unordered_map<std::string, Kept> kept_;
  std::map<Place, std::string> order_;  // place -> id
  size_t bytes_ = 0;
  uint64_t arrivals_ = 0;
};

}  // namespace shardline
