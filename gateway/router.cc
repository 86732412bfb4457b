#include "gateway/router.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "gateway/field_error.h"
#include "gateway/prompt_events.h"
#include "gateway/router_turn.h"
#include "shared/base/clock.h"

namespace shardline {

Router::Router(Options options, const Tokenizer* tokenizer, Metrics* metrics)
    : options_(std::move(options)),
      tokenizer_(tokenizer),
      metrics_(metrics),
      raw_([tokenizer](uint32_t id) {
        return tokenizer == nullptr ? std::string_view() : tokenizer->Raw(id);
      }),
      queue_(options_.queue),
      finished_(options_.max_finished_bytes),
      groups_(options_.groups),
      routing_({.groups = options_.groups}) {}

absl::StatusOr<Router::Live> Router::Admit(Admission admission) {
  const RequestKey key = ++last_key_;
  admission.submit.header.key = key;
  auto request =
      std::make_shared<LiveRequest>(key, std::move(admission), tokenizer_, options_.stream);
  const Submit& submit = request->journal.submit();
  if (options_.groups > 1) request->prefix = PrefixHashes(submit.prompt, submit.header.salt_hash);
  request->accepted_ns = MonotonicNanoseconds();
  v1::GenerateEvent first;
  first.mutable_accepted()->set_request_id(request->id);
  first.mutable_accepted()->set_model(request->model);
  first.mutable_accepted()->set_prompt_tokens(request->prompt_tokens());
  first.mutable_accepted()->set_seed(submit.header.sampling.seed);
  request->stream->Push(std::move(first));
  // Prompt logprobs bring the ids and bytes along.
  if (request->echo && (submit.header.flags & kWantPromptLogprobs) == 0) {
    PushPromptIds(submit.prompt, raw_, *request->stream);
  }

  Turn turn(mutex_);
  if (draining_) return Unavailable("the server is draining: it takes no new requests");
  if (!Serves()) return Unavailable("no worker is serving: it is starting again, retry");
  if (request->deadline_ns != 0 && request->deadline_ns <= request->accepted_ns) {
    return DeadlineExceeded("the deadline was past before the request was accepted");
  }
  if (keys_.contains(request->id)) {
    return absl::AlreadyExistsError(Cat("request_id: a request '", request->id, "' is live"));
  }
  std::optional<size_t> at_once;
  if (queue_.size() == 0) at_once = GroupWithRoom(*request);
  if (!at_once.has_value()) {
    const absl::Status pushed = queue_.Push(key, submit.header.priority, submit.prompt.size());
    if (!pushed.ok()) {
      return RetryLater(std::clamp(seconds_per_end_, 0.05, 30.0), Message(pushed));
    }
  }
  metrics_->Accepted(submit.prompt.size());
  live_.emplace(key, request);
  keys_.emplace(request->id, key);
  finished_.Remove(request->id);
  if (at_once.has_value()) Start(request, *at_once);
  return request;
}

bool Router::Serves() const {
  return std::any_of(groups_.begin(), groups_.end(),
                     [](const WorkerGroup& group) { return group.serves(); });
}

void Router::CountBlocks(LiveRequest& request) {
  if (request.state == LiveRequest::State::kRunning) groups_[request.group].CountBlocks(request);
}

std::optional<size_t> Router::GroupWithRoom(const LiveRequest& request) const {
  std::vector<Routing::Candidate> candidates;
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i].HasRoom(request)) candidates.push_back({i, groups_[i].Load()});
  }
  return routing_.Choose(candidates, request.prefix);
}

void Router::Start(const Live& request, size_t index) {
  const uint64_t now = MonotonicNanoseconds();
  WorkerGroup& group = groups_[index];
  if (!group.has_work()) group.last_progress_ns = now;  // was idle: its next step is due from now
  request->state = LiveRequest::State::kRunning;
  request->group = index;
  request->started_ns = now;
  CountBlocks(*request);
  ++group.running;
  group.running_outputs += request->unfinished;
  if (groups_.size() > 1) routing_.Given(index, request->prefix);
  metrics_->Started(request->prompt_tokens(), Seconds(request->accepted_ns, now));
  group.port->Send(request->journal.submit());
}

void Router::Dispatch(Turn& turn) {
  while (const RequestKey key = queue_.Front()) {
    const Live request = live_.at(key);
    if (request->deadline_ns != 0 && request->deadline_ns <= MonotonicNanoseconds()) {
      EndWithError(turn, request, v1::ERROR_CODE_DEADLINE, "the deadline passed in the queue",
                   Outcome::kDeadline);
      continue;
    }
    const std::optional<size_t> group = GroupWithRoom(*request);
    if (!group.has_value()) return;
    queue_.Remove(key);
    Start(request, *group);
  }
}

void Router::Cancel(Turn& turn, const Live& request, Outcome why) {
  CancelAtWorker(*request, kAllOutputs);
  request->stream->Discard(why == Outcome::kDeadline
                               ? DeadlineExceeded("the deadline passed")
                               : absl::CancelledError("the call was cancelled"));
  Forget(turn, request, why);
}

void Router::CancelAtWorker(const LiveRequest& request, uint32_t output_index) {
  if (request.state != LiveRequest::State::kRunning) return;
  if (const auto& port = groups_[request.group].port; port != nullptr) {
    port->Send(shardline::Cancel{request.key, output_index, 0});
  }
}

uint32_t Router::Abort(const std::string& request_id) {
  Turn turn(mutex_);
  const auto key = keys_.find(request_id);
  if (key == keys_.end()) return 0;
  const uint32_t aborted = AbortOne(turn, Find(key->second));
  Dispatch(turn);
  return aborted;
}

uint32_t Router::AbortAll() {
  Turn turn(mutex_);
  std::vector<Live> all;
  for (const auto& [key, request] : live_) all.push_back(request);
  uint32_t aborted = 0;
  for (const Live& request : all) aborted += AbortOne(turn, request);
  return aborted;
}

uint32_t Router::AbortOne(Turn& turn, const Live& request) {
  CancelAtWorker(*request, kAllOutputs);
  v1::Finished finished;
  finished.set_reason(v1::FINISH_REASON_ABORTED);
  for (uint32_t i = 0; i < request->outputs.size(); ++i) {
    if (request->outputs[i].finished) continue;
    PushText(*request, i, request->outputs[i].text.Finish().text);
    FinishOutput(turn, request, i, finished, Outcome::kAborted);
  }
  return 1;
}

void Router::StartDraining() {
  Turn turn(mutex_);
  draining_ = true;
}

void Router::EndAll(v1::ErrorCode code, const std::string& why) {
  Turn turn(mutex_);
  std::vector<Live> all;
  for (const auto& [key, request] : live_) all.push_back(request);
  for (const Live& request : all) {
    CancelAtWorker(*request, kAllOutputs);
    EndWithError(turn, request, code, why, Outcome::kError);
  }
}

void Router::Tick(uint64_t now_ns) {
  Turn turn(mutex_);
  finished_.Expire(now_ns);
  EjectStalled(turn, now_ns);
  std::vector<Live> late, stalled, deserted;
  for (const auto& [key, request] : live_) {
    const bool queued = request->state == LiveRequest::State::kQueued;
    if (queued && request->deadline_ns != 0 && request->deadline_ns <= now_ns) {
      late.push_back(request);
    }
    if (request->detached_since_ns != 0) {
      if (now_ns >= request->detached_since_ns + request->detach_ns) deserted.push_back(request);
      continue;
    }
    if (!request->paused) continue;
    if (const uint64_t taken = request->stream->taken(); taken != request->stalled_taken) {
      request->stalled_taken = taken;
      request->stalled_since_ns = now_ns;
    } else if (now_ns >= request->stalled_since_ns + options_.stalled_reader_ns) {
      stalled.push_back(request);
    }
  }
  for (const Live& request : late) {
    EndWithError(turn, request, v1::ERROR_CODE_DEADLINE, "the deadline passed in the queue",
                 Outcome::kDeadline);
  }
  for (const Live& request : stalled) {
    CancelAtWorker(*request, kAllOutputs);
    EndWithError(turn, request, v1::ERROR_CODE_OVERLOADED,
                 "the reader took no event for --stalled-reader-seconds", Outcome::kError);
  }
  for (const Live& request : deserted) Cancel(turn, request, Outcome::kCancelled);
  if (!stalled.empty() || !deserted.empty()) Dispatch(turn);
}

size_t Router::live_requests() const {
  std::lock_guard lock(mutex_);
  return live_.size();
}

uint64_t Router::waiting_for_step_since_ns(size_t group) const {
  std::lock_guard lock(mutex_);
  const WorkerGroup& asked = groups_[group];
  return asked.serves() && asked.has_work() ? asked.last_progress_ns : 0;
}

Router::State Router::state() const {
  std::lock_guard lock(mutex_);
  State state{.worker_ready = Serves(),
              .draining = draining_,
              .queued = static_cast<uint32_t>(queue_.size()),
              .running = 0,
              .queued_tokens = queue_.tokens(),
              .ready = groups_[last_ready_].ready,
              .groups = {}};
  uint32_t context = std::numeric_limits<uint32_t>::max();
  for (const WorkerGroup& group : groups_) {
    state.running += group.running;
    state.groups.push_back({group.serves(), group.report});
    if (group.serves()) context = std::min(context, group.ready.header.context_tokens);
  }
  if (state.worker_ready) state.ready.header.context_tokens = context;
  return state;
}

Router::Live Router::Find(RequestKey key) const {
  const auto request = live_.find(key);
  return request == live_.end() ? nullptr : request->second;
}

// A request that the group runs; what it said of it is headway. Null: it has ended, or is another
// group's.
Router::Live Router::FindIn(size_t group, RequestKey key) {
  Live request = Find(key);
  if (request == nullptr || request->state != LiveRequest::State::kRunning ||
      request->group != group || !groups_[group].serves()) {
    return nullptr;
  }
  groups_[group].last_progress_ns = MonotonicNanoseconds();
  return request;
}

void Router::Forget(Turn& turn, const Live& request, Outcome outcome) {
  const bool started = request->state == LiveRequest::State::kRunning;
  if (started) {
    WorkerGroup& group = groups_[request->group];
    group.committed_blocks -= request->blocks;
    --group.running;
    group.running_outputs -= request->unfinished;
    if (request->paused) group.paused_outputs -= request->unfinished;
  } else {
    queue_.Remove(request->key);
  }
  const uint64_t now = MonotonicNanoseconds();
  if (last_end_ns_ != 0) {
    seconds_per_end_ = 0.8 * seconds_per_end_ + 0.2 * std::min(30.0, Seconds(last_end_ns_, now));
  }
  last_end_ns_ = now;
  request->state = LiveRequest::State::kEnded;
  request->paused = false;
  metrics_->Ended(outcome, started, request->prompt_tokens(), Seconds(request->accepted_ns, now));
  if (options_.trace != nullptr) {
    turn.Afterwards([this, request, outcome, now] { TraceEnded(*request, outcome, now); });
  }
  live_.erase(request->key);
  keys_.erase(request->id);
  request->stream->Close();
  // A stream that was cancelled has nothing to tell any more.
  if (request->stream->end().ok()) {
    finished_.Add(request->id, request->stream,
                  now + std::max(request->detach_ns, options_.keep_finished_ns));
  }
  if (request->stream->has_reader()) {
    lingering_.push_back({request->stream, request->stream->taken(), now});
  }
  turn.Touch(request);
}

// A request's whole way, written down when it is over and nothing changes it any more.
void Router::TraceEnded(const LiveRequest& request, Outcome outcome, uint64_t now) const {
  Trace& trace = *options_.trace;
  TraceArguments arguments;
  arguments.Add("request_id", request.id)
      .Add("key", request.key)
      .Add("outcome", kOutcomeNames[static_cast<size_t>(outcome)])
      .Add("group", request.group)
      .Add("outputs", request.outputs.size())
      .Add("prompt_tokens", request.prompt_tokens())
      .Add("output_tokens", request.journal.emitted_tokens());
  if (request.parent.has_value()) {
    arguments.Add("trace_id", request.parent->trace_id).Add("parent_id", request.parent->parent_id);
  }
  trace.AsyncSpan("request", request.key, request.accepted_ns, now, arguments);
  const uint64_t started = request.started_ns != 0 ? request.started_ns : now;
  trace.AsyncSpan("queue", request.key, request.accepted_ns, started);
  if (request.started_ns == 0) return;
  const uint64_t first = request.first_token_ns != 0 ? request.first_token_ns : now;
  trace.AsyncSpan("first token", request.key, started, first);
  if (request.first_token_ns != 0) trace.AsyncSpan("decode", request.key, first, now);
}

}  // namespace shardline
