// One request's events on their way to its reader: a bounded ring. An event gets its number when it
// enters; only the newest event, and only while nobody has been sent it, may still grow. The ring
// never refuses an event: it says when it is full, and the router pauses the request at the worker.
// Thread-safe; its lock is a leaf (nothing is called while it is held).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>

#include "shardline/v1/inference.pb.h"

namespace shardline {

class EventStream {
 public:
  struct Limits {
    size_t max_events = 256;
    size_t max_bytes = size_t{1} << 20;
    size_t max_event_bytes = size_t{32} << 10;  // an event of this size grows no more
  };
  EventStream() : EventStream(Limits()) {}
  explicit EventStream(Limits limits) : limits_(limits) {}

  // Numbers `event` and puts it last, or lets the newest one grow by it. Nothing after Close.
  void Push(v1::GenerateEvent event);
  // No more events come. With `discard`, those that wait are thrown away: the reader is gone.
  void Close(bool discard);

  enum class Next { kEvent, kEmpty, kEnd };
  // Moves the oldest event out.
  Next Take(v1::GenerateEvent* event);

  bool full() const;
  bool drained() const;  // at most half full
  // Events taken so far: tells whether the reader moves.
  uint64_t taken() const;

  // Called by Notify, from any thread, when there may be something to take.
  void SetListener(std::function<void()> listener);
  void Notify();

 private:
  bool Grow(v1::GenerateEvent& event);

  const Limits limits_;
  mutable std::mutex mutex_;
  struct Slot {
    v1::GenerateEvent event;
    size_t bytes;
  };
  std::deque<Slot> ring_;
  size_t bytes_ = 0;
  uint64_t last_seq_ = 0;
  uint64_t taken_ = 0;
  bool closed_ = false;
  std::function<void()> listener_;
};

}  // namespace shardline
