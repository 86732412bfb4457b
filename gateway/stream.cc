#include "gateway/stream.h"

#include <utility>

namespace shardline {
namespace {

constexpr size_t kSlotBytes = 48;  // what a kept event takes besides its own bytes

}  // namespace

void EventStream::Push(v1::GenerateEvent event) {
  std::lock_guard lock(mutex_);
  if (closed_ || Grow(event)) return;
  Freeze();
  event.set_event_seq(++last_seq_);
  newest_bytes_ = event.ByteSizeLong();
  waiting_bytes_ += newest_bytes_ + kSlotBytes;
  newest_ = std::move(event);
  growing_ = true;
}

// Tokens of the same output join the newest event while nobody has been sent it.
bool EventStream::Grow(v1::GenerateEvent& event) {
  if (!growing_ || !event.has_tokens()) return false;
  if (!newest_.has_tokens() || newest_bytes_ >= limits_.max_event_bytes) return false;
  v1::OutputTokens& to = *newest_.mutable_tokens();
  v1::OutputTokens& from = *event.mutable_tokens();
  if (to.output_index() != from.output_index()) return false;
  const size_t bytes = from.ByteSizeLong();
  for (v1::TokenInfo& token : *from.mutable_tokens()) *to.add_tokens() = std::move(token);
  to.mutable_text()->append(from.text());
  newest_bytes_ += bytes;
  waiting_bytes_ += bytes;
  return true;
}

// The newest event grows no more.
void EventStream::Freeze() {
  if (!growing_) return;
  kept_.push_back(newest_.SerializeAsString());
  ++waiting_;
  waiting_bytes_ += kept_.back().size();
  waiting_bytes_ -= newest_bytes_;
  growing_ = false;
}

// The oldest event that nobody has been sent joins those that were; the oldest of these make room.
void EventStream::MarkSent() {
  const size_t bytes = kept_[kept_.size() - waiting_].size() + kSlotBytes;
  --waiting_;
  waiting_bytes_ -= bytes;
  sent_bytes_ += bytes;
  while (sent_bytes_ > limits_.max_sent_bytes && kept_.size() - waiting_ > 1) {
    sent_bytes_ -= kept_.front().size() + kSlotBytes;
    kept_.pop_front();
  }
}

uint64_t EventStream::FirstKept() const {
  return last_seq_ + 1 - kept_.size() - (growing_ ? 1 : 0);
}

uint64_t EventStream::FirstUnsent() const { return FirstKept() + kept_.size() - waiting_; }

void EventStream::Close() {
  std::lock_guard lock(mutex_);
  Freeze();
  newest_ = v1::GenerateEvent();
  closed_ = true;
}

void EventStream::Discard(absl::Status why) {
  std::lock_guard lock(mutex_);
  closed_ = true;
  end_ = std::move(why);
  kept_.clear();
  newest_ = v1::GenerateEvent();
  growing_ = false;
  waiting_ = sent_bytes_ = waiting_bytes_ = 0;
  next_seq_ = last_seq_ + 1;
}

absl::StatusOr<EventStream::Joined> EventStream::Join(uint64_t from_seq,
                                                      std::function<void()> listener) {
  std::lock_guard lock(mutex_);
  const uint64_t first_kept = FirstKept();
  if (from_seq < first_kept) {
    return absl::OutOfRangeError(
        Cat("from_seq: event ", from_seq, " is no longer kept, the first that is: ", first_kept));
  }
  if (from_seq > last_seq_ + 1) {
    return absl::OutOfRangeError(
        Cat("from_seq: event ", from_seq, " does not exist, the next one is ", last_seq_ + 1));
  }
  // What this reader does not want goes the way of what was sent.
  if (from_seq > last_seq_) Freeze();
  while (FirstUnsent() < from_seq) MarkSent();
  next_seq_ = from_seq;
  return Joined{++reader_, std::exchange(listener_, std::move(listener))};
}

bool EventStream::Leave(Reader reader) {
  std::lock_guard lock(mutex_);
  if (reader != reader_) return false;
  listener_ = nullptr;
  return true;
}

void EventStream::Eject() {
  std::lock_guard lock(mutex_);
  ejected_ = reader_;
}

bool EventStream::Ejected(Reader reader) const {
  std::lock_guard lock(mutex_);
  return reader != 0 && reader == ejected_;
}

bool EventStream::has_reader() const {
  std::lock_guard lock(mutex_);
  return listener_ != nullptr;
}

EventStream::Next EventStream::Take(Reader reader, v1::GenerateEvent* event) {
  std::lock_guard lock(mutex_);
  if (reader != reader_) return Next::kReplaced;
  if (next_seq_ > last_seq_) return closed_ ? Next::kEnd : Next::kEmpty;
  if (growing_ && next_seq_ == last_seq_) {
    Freeze();
    *event = std::move(newest_);
  } else {
    event->ParseFromString(kept_[next_seq_ - FirstKept()]);
  }
  if (next_seq_ == FirstUnsent()) MarkSent();
  ++next_seq_;
  ++taken_;
  return Next::kEvent;
}

absl::Status EventStream::end() const {
  std::lock_guard lock(mutex_);
  return end_;
}

bool EventStream::full() const {
  std::lock_guard lock(mutex_);
  return waiting_ + growing_ >= limits_.max_events || waiting_bytes_ >= limits_.max_bytes;
}

bool EventStream::drained() const {
  std::lock_guard lock(mutex_);
  return waiting_ + growing_ <= limits_.max_events / 2 && waiting_bytes_ <= limits_.max_bytes / 2;
}

uint64_t EventStream::taken() const {
  std::lock_guard lock(mutex_);
  return taken_;
}

size_t EventStream::bytes() const {
  std::lock_guard lock(mutex_);
  return sent_bytes_ + waiting_bytes_;
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
