#include "gateway/stream.h"

#include <utility>

namespace shardline {
namespace {

constexpr size_t kSlotBytes = 48;  // what a kept event takes besides its own bytes

}  // namespace

void EventStream::Push(v1::GenerateEvent event) {
  std::lock_guard lock(mutex_);
  if (closed_ || Grow(event)) return;
  event.set_event_seq(++last_seq_);
  const size_t bytes = event.ByteSizeLong();
  ring_bytes_ += bytes;
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
  ring_bytes_ += bytes;
  return true;
}

void EventStream::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
}

void EventStream::Discard(absl::Status why) {
  std::lock_guard lock(mutex_);
  closed_ = true;
  end_ = std::move(why);
  ring_.clear();
  sent_.clear();
  ring_bytes_ = sent_bytes_ = 0;
  next_seq_ = last_seq_ + 1;
}

absl::StatusOr<EventStream::Joined> EventStream::Join(uint64_t from_seq,
                                                      std::function<void()> listener) {
  std::lock_guard lock(mutex_);
  const uint64_t first_kept = last_seq_ - ring_.size() - sent_.size() + 1;
  if (from_seq < first_kept) {
    return absl::OutOfRangeError(
        Cat("from_seq: event ", from_seq, " is no longer kept, the first that is: ", first_kept));
  }
  if (from_seq > last_seq_ + 1) {
    return absl::OutOfRangeError(
        Cat("from_seq: event ", from_seq, " does not exist, the next one is ", last_seq_ + 1));
  }
  // What this reader does not want goes the way of what was sent.
  while (last_seq_ - ring_.size() + 1 < from_seq) SendFront(nullptr);
  next_seq_ = from_seq;
  return Joined{++reader_, std::exchange(listener_, std::move(listener))};
}

bool EventStream::Leave(Reader reader) {
  std::lock_guard lock(mutex_);
  if (reader != reader_) return false;
  listener_ = nullptr;
  return true;
}

EventStream::Next EventStream::Take(Reader reader, v1::GenerateEvent* event) {
  std::lock_guard lock(mutex_);
  if (reader != reader_) return Next::kReplaced;
  if (next_seq_ > last_seq_) return closed_ ? Next::kEnd : Next::kEmpty;
  const uint64_t first_unsent = last_seq_ - ring_.size() + 1;
  if (next_seq_ < first_unsent) {
    event->ParseFromString(sent_[next_seq_ - (first_unsent - sent_.size())]);
  } else {
    SendFront(event);
  }
  ++next_seq_;
  ++taken_;
  return Next::kEvent;
}

// The oldest event of the ring joins those that were sent; the oldest of these make room.
void EventStream::SendFront(v1::GenerateEvent* event) {
  sent_.push_back(ring_.front().event.SerializeAsString());
  if (event != nullptr) *event = std::move(ring_.front().event);
  sent_bytes_ += sent_.back().size() + kSlotBytes;
  ring_bytes_ -= ring_.front().bytes;
  ring_.pop_front();
  while (sent_bytes_ > limits_.max_sent_bytes && sent_.size() > 1) {
    sent_bytes_ -= sent_.front().size() + kSlotBytes;
    sent_.pop_front();
  }
}

absl::Status EventStream::end() const {
  std::lock_guard lock(mutex_);
  return end_;
}

bool EventStream::full() const {
  std::lock_guard lock(mutex_);
  return ring_.size() >= limits_.max_events || ring_bytes_ >= limits_.max_bytes;
}

bool EventStream::drained() const {
  std::lock_guard lock(mutex_);
  return ring_.size() <= limits_.max_events / 2 && ring_bytes_ <= limits_.max_bytes / 2;
}

uint64_t EventStream::taken() const {
  std::lock_guard lock(mutex_);
  return taken_;
}

size_t EventStream::bytes() const {
  std::lock_guard lock(mutex_);
  return sent_bytes_ + ring_bytes_;
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
