// The router's third part: readers. They join a stream, read it and leave; what they do not take
// makes its request pause, and one that takes nothing for too long loses its stream.
#include <utility>

#include "gateway/router.h"
#include "gateway/router_turn.h"
#include "shared/base/clock.h"

namespace shardline {

absl::StatusOr<Router::Attached> Router::Attach(const std::string& request_id, uint64_t from_seq,
                                                std::function<void()> listener) {
  Attached attached;
  std::function<void()> replaced;
  {
    Turn turn(mutex_);
    const auto key = keys_.find(request_id);
    if (key != keys_.end()) attached.request = Find(key->second);
    attached.stream =
        attached.request != nullptr ? attached.request->stream : finished_.Find(request_id);
    if (attached.stream == nullptr) {
      return NotFound("request_id: no request '", request_id.substr(0, 256),
                      "' is live or has lately finished");
    }
    SL_ASSIGN_OR_RETURN(EventStream::Joined joined,
                        attached.stream->Join(from_seq, std::move(listener)));
    attached.reader = joined.reader;
    replaced = std::move(joined.replaced);
    if (attached.request == nullptr) {
      lingering_.push_back({attached.stream, attached.stream->taken(), MonotonicNanoseconds()});
    } else {
      attached.request->detached_since_ns = 0;
      attached.request->deadline_ns = 0;  // it was the other call's
      attached.request->stalled_since_ns = MonotonicNanoseconds();
      // What the reader has no use for may have been what filled the ring.
      if (attached.request->paused && attached.stream->drained()) ResumeAtWorker(*attached.request);
    }
  }
  if (replaced) replaced();
  return attached;
}

void Router::Leave(const Live& request, EventStream::Reader reader, Outcome why) {
  Turn turn(mutex_);
  if (!request->stream->Leave(reader) || request->state == LiveRequest::State::kEnded) return;
  if (request->detach_ns > 0) {
    request->detached_since_ns = MonotonicNanoseconds();
  } else {
    Cancel(turn, request, why);
    Dispatch(turn);
  }
}

// Sets `paused` before it looks at the ring again: either this sees that the reader has drained it
// meanwhile, or the reader sees `paused` after its last Take.
void Router::PauseIfFull(LiveRequest& request) {
  if (request.state != LiveRequest::State::kRunning || request.paused || !request.stream->full()) {
    return;
  }
  WorkerGroup& group = groups_[request.group];
  request.paused = true;
  group.paused_outputs += request.unfinished;
  request.stalled_since_ns = MonotonicNanoseconds();
  request.stalled_taken = request.stream->taken();
  if (group.serves()) group.port->Send(Pause{request.key});
  if (request.stream->drained()) ResumeAtWorker(request);
}

void Router::ResumeAtWorker(LiveRequest& request) {
  if (!request.paused) return;
  WorkerGroup& group = groups_[request.group];
  if (!group.has_work()) group.last_progress_ns = MonotonicNanoseconds();
  request.paused = false;
  group.paused_outputs -= request.unfinished;
  if (group.serves()) group.port->Send(Resume{request.key});
}

void Router::Taken(const Live& request) {
  if (!request->paused || !request->stream->drained()) return;
  Turn turn(mutex_);
  if (request->state == LiveRequest::State::kRunning) ResumeAtWorker(*request);
}

// The calls of readers that take nothing hold their streams: after the end for no longer than
// before it.
void Router::EjectStalled(Turn& turn, uint64_t now_ns) {
  std::erase_if(lingering_, [&](Lingering& lingering) {
    if (!lingering.stream->has_reader()) return true;
    if (const uint64_t taken = lingering.stream->taken(); taken != lingering.taken) {
      lingering.taken = taken;
      lingering.since_ns = now_ns;
    }
    if (now_ns < lingering.since_ns + options_.stalled_reader_ns) return false;
    lingering.stream->Eject();
    turn.Touch(lingering.stream);
    return true;
  });
}

}  // namespace shardline
