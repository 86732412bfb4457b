#include "gateway/stream.h"

#include <utility>

namespace shardline {

void EventStream::Push(v1::GenerateEvent event) {
  std::lock_guard lock(mutex_);
  if (closed_ || Grow(event)) return;
  event.set_event_seq(++last_seq_);
  const size_t bytes = event.ByteSizeLong();
  bytes_ += bytes;
  ring_.push_back({std::move(event), bytes});
}

// Tokens of the same output join the newest event; it is in the ring, so nobody has been sent it.
bool EventStream::Grow(v1::GenerateEvent& event) {
  if (ring_.empty() || !event.has_tokens()) return false;
  Slot& newest = ring_.back();
  if (!newest.event.has_tokens() || newest.bytes >= limits_.max_event_bytes) return false;
  v1::OutputTokens& to = *newest.event.mutable_tokens();
  v1::OutputTokens& from = *event.mutable_tokens();
  if (to.output_index() != from.output_index()) return false;
  const size_t bytes = from.ByteSizeLong();
  for (v1::TokenInfo& token : *from.mutable_tokens()) *to.add_tokens() = std::move(token);
  to.mutable_text()->append(from.text());
  newest.bytes += bytes;
  bytes_ += bytes;
  return true;
}

void EventStream::Close(bool discard) {
  std::lock_guard lock(mutex_);
  closed_ = true;
  if (discard) {
    ring_.clear();
    bytes_ = 0;
  }
}

EventStream::Next EventStream::Take(v1::GenerateEvent* event) {
  std::lock_guard lock(mutex_);
  if (ring_.empty()) return closed_ ? Next::kEnd : Next::kEmpty;
  *event = std::move(ring_.front().event);
  bytes_ -= ring_.front().bytes;
  ring_.pop_front();
  ++taken_;
  return Next::kEvent;
}

bool EventStream::full() const {
  std::lock_guard lock(mutex_);
  return ring_.size() >= limits_.max_events || bytes_ >= limits_.max_bytes;
}

bool EventStream::drained() const {
  std::lock_guard lock(mutex_);
  return ring_.size() <= limits_.max_events / 2 && bytes_ <= limits_.max_bytes / 2;
}

uint64_t EventStream::taken() const {
  std::lock_guard lock(mutex_);
  return taken_;
}

void EventStream::SetListener(std::function<void()> listener) {
  std::lock_guard lock(mutex_);
  listener_ = std::move(listener);
}

void EventStream::Notify() {
  std::function<void()> listener;
  {
    std::lock_guard lock(mutex_);
    listener = listener_;
  }
  if (listener) listener();
}

}  // namespace shardline
