// The gateway's centre: takes validated requests in, lets them wait, hands them to a worker group
// whose last report shows room, and turns what the workers say into each request's events. Free of
// gRPC.
//
// One lock guards the queue, the groups and all live requests. While it is held, the router calls
// only leaves: the worker ports (which never block), metrics, and the streams' own locks. Readers
// are notified, and the trace is written, after it is released. Messages to a worker are sent under
// it, so they leave in the order of what they mean.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "gateway/admission/queue.h"
#include "gateway/finished_streams.h"
#include "gateway/live_request.h"
#include "gateway/metrics.h"
#include "gateway/routing.h"
#include "gateway/worker_group.h"
#include "shared/base/status.h"
#include "shared/base/trace.h"
#include "shared/ipc/message.h"
#include "shared/wire/tokens.h"

namespace shardline {

class Router {
 public:
  struct Options {
    size_t groups = 1;
    AdmissionQueue::Limits queue;
    uint64_t stalled_reader_ns = 30'000'000'000;
    EventStream::Limits stream;
    uint64_t keep_finished_ns = 60'000'000'000;  // or as long as the request might have detached
    size_t max_finished_bytes = size_t{32} << 20;
    std::vector<uint32_t> eos_ids;  // as told to the worker
    Trace* trace = nullptr;         // outlives the router
  };
  // `tokenizer` may be null; both outlive the router.
  Router(Options options, const Tokenizer* tokenizer, Metrics* metrics);

  // ---- calls
  // Accepts a request: its `accepted` event (and `prompt` events for echo) are in its stream.
  // Errors: Unavailable (draining, no worker), AlreadyExists (a live id), ResourceExhausted with a
  // retry time.
  absl::StatusOr<std::shared_ptr<LiveRequest>> Admit(Admission admission);
  // A reader joins the stream of a live or lately finished request, in place of the one before,
  // whose listener is called a last time. Errors: NotFound, OutOfRange (EventStream::Join).
  struct Attached {
    std::shared_ptr<EventStream> stream;
    std::shared_ptr<LiveRequest> request;  // null: it had ended
    EventStream::Reader reader;
  };
  absl::StatusOr<Attached> Attach(const std::string& request_id, uint64_t from_seq,
                                  std::function<void()> listener);
  // The reader has gone (client, deadline). Unless another has taken its place or the request may
  // run on detached, nothing more is sent and the worker forgets the request.
  void Leave(const std::shared_ptr<LiveRequest>& request, EventStream::Reader reader, Outcome why);
  // The reader took an event: a paused request may go on.
  void Taken(const std::shared_ptr<LiveRequest>& request);
  // Ends with `finished` ABORTED for each output. How many requests that were.
  uint32_t Abort(const std::string& request_id);
  uint32_t AbortAll();

  // ---- a group's worker, from its link's thread; `group` < Options::groups
  void WorkerReady(size_t group, std::shared_ptr<WorkerPort> port, const Ready& ready);
  // Terminal errors for what the group ran; what waits keeps waiting for whoever has room.
  void WorkerLost(size_t group);
  // Of a request that the group does not run, nothing counts.
  void OnMessage(size_t group, const Tokens& message);
  void OnMessage(size_t group, const Prompt& message);
  void OnMessage(size_t group, const Finished& message);
  void OnMessage(size_t group, const Failed& message);
  void OnMessage(size_t group, const StepReport& message);
  // The worker is still at its step.
  void OnMessage(size_t group, const Progress& message);

  // ---- the gateway's life
  void StartDraining();                                     // new requests get Unavailable
  void EndAll(v1::ErrorCode code, const std::string& why);  // terminal errors for everything live
  // Ends waiting requests whose deadline is past, requests whose reader stands still and those that
  // no reader came back to; drops finished streams whose time is over. Called a few times a second.
  void Tick(uint64_t now_ns);
  size_t live_requests() const;
  // Since when the group has made no headway although it has work; 0 while it has none.
  uint64_t waiting_for_step_since_ns(size_t group) const;

  struct State {
    struct Group {
      bool serves = false;
      StepReport report{};  // zero before the first
    };
    bool worker_ready = false;  // a group serves
    bool draining = false;
    uint32_t queued = 0, running = 0;
    uint64_t queued_tokens = 0;
    Ready ready;                // of the last worker that was; the context that all groups hold
    std::vector<Group> groups;  // [Options::groups]
  };
  State state() const;

 private:
  class Turn;  // the lock, and whom to notify after it
  using Live = std::shared_ptr<LiveRequest>;

  Live Find(RequestKey key) const;
  Live FindIn(size_t group, RequestKey key);
  bool Serves() const;
  void Dispatch(Turn& turn);
  std::optional<size_t> GroupWithRoom(const LiveRequest& request) const;
  void Start(const Live& request, size_t group);
  void Cancel(Turn& turn, const Live& request, Outcome why);
  void CountBlocks(LiveRequest& request);
  void PushTokens(Turn& turn, const Live& request, const Tokens& message);
  void PushText(LiveRequest& request, uint32_t output_index, std::string text);
  void FinishOutput(Turn& turn, const Live& request, uint32_t output_index, v1::Finished finished,
                    Outcome outcome);
  void EndWithError(Turn& turn, const Live& request, v1::ErrorCode code, const std::string& why,
                    Outcome outcome);
  uint32_t AbortOne(Turn& turn, const Live& request);
  void Forget(Turn& turn, const Live& request, Outcome outcome);
  void EjectStalled(Turn& turn, uint64_t now_ns);
  void TraceEnded(const LiveRequest& request, Outcome outcome, uint64_t now) const;
  void CancelAtWorker(const LiveRequest& request, uint32_t output_index);
  void PauseIfFull(LiveRequest& request);
  void ResumeAtWorker(LiveRequest& request);
  v1::Usage UsageOf(const LiveRequest& request) const;
  bool EndsOutput(const LiveRequest& request, uint32_t id) const;

  const Options options_;
  const Tokenizer* const tokenizer_;
  Metrics* const metrics_;
  const RawBytes raw_;

  mutable std::mutex mutex_;
  AdmissionQueue queue_;
  std::unordered_map<RequestKey, Live> live_;
  std::unordered_map<std::string, RequestKey> keys_;
  FinishedStreams finished_;
  struct Lingering {
    std::shared_ptr<EventStream> stream;
    uint64_t taken, since_ns;  // how far the reader was, and since when
  };
  std::vector<Lingering> lingering_;  // streams that have ended, while somebody still reads them
  std::atomic<RequestKey> last_key_{0};
  std::vector<WorkerGroup> groups_;
  Routing routing_;
  size_t last_ready_ = 0;  // the group that got ready last
  bool draining_ = false;
  double seconds_per_end_ = 0.5;  // smoothed time between ends, for RetryInfo
  uint64_t last_end_ns_ = 0;
};

}  // namespace shardline
