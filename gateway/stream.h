// One request's events on their way to its reader: a bounded ring. An event gets its number when it
// enters; only the newest event, and only while nobody has been sent it, may still grow. The ring
// never refuses an event: it says when it is full, and the router pauses the request at the worker.
// What was sent stays for a while, so that a reader may join again and see equal events. One reader
// at a time: who joins replaces the one before. Thread-safe; its lock is a leaf (nothing is called
// while it is held).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>

#include "shardline/v1/inference.pb.h"
#include "shared/base/status.h"

namespace shardline {

class EventStream {
 public:
  struct Limits {
    size_t max_events = 4096;  // that nobody has been sent
    size_t max_bytes = size_t{1} << 20;
    size_t max_event_bytes = size_t{32} << 10;  // an event of this size grows no more
    size_t max_sent_bytes = size_t{2} << 20;    // kept for a reader that joins again
  };
  EventStream() : EventStream(Limits()) {}
  explicit EventStream(Limits limits) : limits_(limits) {}

  // Numbers `event` and puts it last, or lets the newest one grow by it. Nothing after Close.
  void Push(v1::GenerateEvent event);
  // No more events come.
  void Close();
  // No more events come and those that wait are thrown away; the reader's call ends with `why`.
  void Discard(absl::Status why);

  // ---- readers
  using Reader = uint64_t;
  struct Joined {
    Reader reader;
    std::function<void()> replaced;  // wakes the reader before, if there was one; call it
  };
  // From event `from_seq` (1: all) on. `listener` is called by Notify, from any thread, when there
  // may be something to take. Errors: OutOfRange (the event is no longer kept, or is not the next
  // one either).
  absl::StatusOr<Joined> Join(uint64_t from_seq, std::function<void()> listener);
  // Forgets the reader's listener, though a Notify that has begun may still call it once: what the
  // listener uses must outlive it. False when another has replaced the reader.
  bool Leave(Reader reader);
  // The reader's call is to end, whatever it waits for: it holds up what nobody takes. Then Notify.
  void Eject();
  bool Ejected(Reader reader) const;

  enum class Next { kEvent, kEmpty, kEnd, kReplaced };
  // Moves the reader on by one event.
  Next Take(Reader reader, v1::GenerateEvent* event);
  void Notify();
  // After kEnd: OK, or what Discard was told.
  absl::Status end() const;

  bool full() const;
  bool drained() const;  // at most half full
  // Events that readers were sent so far: tells whether the reader moves.
  uint64_t taken() const;
  bool has_reader() const;  // one that listens and has not left
  size_t bytes() const;     // of all events that are kept

 private:
  bool Grow(v1::GenerateEvent& event);
  void Freeze();
  void MarkSent();
  uint64_t FirstKept() const;
  uint64_t FirstUnsent() const;

  const Limits limits_;
  mutable std::mutex mutex_;
  // Every event as the bytes that it is sent in (as a message it takes several times as many), but
  // for the newest while it may grow. The last `waiting_` of them nobody has been sent.
  std::deque<std::string> kept_;
  size_t waiting_ = 0;
  size_t sent_bytes_ = 0, waiting_bytes_ = 0;  // waiting: with the newest
  v1::GenerateEvent newest_;                   // number last_seq_, while `growing_`
  bool growing_ = false;
  size_t newest_bytes_ = 0;
  uint64_t last_seq_ = 0;
  uint64_t taken_ = 0;
  bool closed_ = false;
  absl::Status end_;

  Reader reader_ = 0;      // 0: none yet; counts readers
  Reader ejected_ = 0;     // the last that was
  uint64_t next_seq_ = 1;  // the reader's
  std::function<void()> listener_;
};

}  // namespace shardline
