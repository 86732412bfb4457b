#include "gateway/finished_streams.h"

namespace shardline {
namespace {

constexpr size_t kStreamBytes = 2048;  // what a stream takes besides its events

}  // namespace

void FinishedStreams::Add(const std::string& id, std::shared_ptr<EventStream> stream,
                          uint64_t expires_ns) {
  Remove(id);
  const size_t bytes = stream->bytes() + kStreamBytes;
  const Place place{expires_ns, arrivals_++};
  order_.emplace(place, id);
  kept_.emplace(id, Kept{std::move(stream), bytes, place});
  bytes_ += bytes;
  while (bytes_ > max_bytes_) Remove(std::string(order_.begin()->second));
}

std::shared_ptr<EventStream> FinishedStreams::Find(const std::string& id) const {
  const auto kept = kept_.find(id);
  return kept == kept_.end() ? nullptr : kept->second.stream;
}

void FinishedStreams::Remove(const std::string& id) {
  const auto kept = kept_.find(id);
  if (kept == kept_.end()) return;
  bytes_ -= kept->second.bytes;
  order_.erase(kept->second.place);
  kept_.erase(kept);
}

void FinishedStreams::Expire(uint64_t now_ns) {
  while (!order_.empty() && order_.begin()->first.first <= now_ns) {
    Remove(std::string(order_.begin()->second));
  }
}

}  // namespace shardline
