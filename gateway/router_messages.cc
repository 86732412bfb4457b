// The router's second part: what the workers say, turned into the requests' events.
#include <algorithm>
#include <utility>

#include "gateway/prompt_events.h"
#include "gateway/router.h"
#include "gateway/router_turn.h"
#include "shared/base/clock.h"

namespace shardline {
namespace {

Outcome OutcomeOf(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_EOS:
      return Outcome::kEos;
    case v1::FINISH_REASON_STOP_TOKEN:
    case v1::FINISH_REASON_STOP_STRING:
      return Outcome::kStop;
    case v1::FINISH_REASON_LENGTH:
      return Outcome::kLength;
    default:
      return Outcome::kAborted;
  }
}

bool Retryable(v1::ErrorCode code) {
  return code == v1::ERROR_CODE_WORKER_LOST || code == v1::ERROR_CODE_DRAINING ||
         code == v1::ERROR_CODE_OVERLOADED;
}

}  // namespace

void Router::WorkerReady(size_t index, std::shared_ptr<WorkerPort> port, const Ready& ready) {
  Turn turn(mutex_);
  WorkerGroup& group = groups_[index];
  group.Serve(std::move(port), ready);
  group.last_progress_ns = MonotonicNanoseconds();
  last_ready_ = index;
  metrics_->Step(index, group.report);
  Dispatch(turn);
}

void Router::WorkerLost(size_t index) {
  std::shared_ptr<WorkerPort> port;  // let go of after the lock, which its own thread may wait for
  Turn turn(mutex_);
  port = groups_[index].port;
  groups_[index].Lose();
  routing_.Lost(index);
  metrics_->WorkerLost(index);
  std::vector<Live> lost;
  for (const auto& [key, request] : live_) {
    if (request->state == LiveRequest::State::kRunning && request->group == index) {
      lost.push_back(request);
    }
  }
  for (const Live& request : lost) {
    EndWithError(turn, request, v1::ERROR_CODE_WORKER_LOST,
                 "the worker process ended; it is being started again", Outcome::kError);
  }
}

void Router::OnMessage(size_t group, const Tokens& message) {
  Turn turn(mutex_);
  const Live request = FindIn(group, message.header.key);
  if (request == nullptr) return;  // ended meanwhile
  PushTokens(turn, request, message);
}

// A token is noted in the journal, then shown. The one that completes a stop string ends its output
// here, and the worker is told.
void Router::PushTokens(Turn& turn, const Live& request, const Tokens& message) {
  const uint32_t index = message.header.output_index;
  if (index >= request->outputs.size() || request->outputs[index].finished) return;
  LiveRequest::Output& output = request->outputs[index];
  v1::GenerateEvent event;
  v1::OutputTokens& tokens = *event.mutable_tokens();
  tokens.set_output_index(index);
  const size_t top_count = message.header.top_count;
  std::optional<size_t> stop_string;
  for (size_t i = 0; i < message.tokens.size() && !stop_string.has_value(); ++i) {
    const TokenRecord& token = message.tokens[i];
    const auto token_index = static_cast<uint32_t>(message.header.first_index + i);
    if (!request->journal.Emitted(index, token_index, token.id)) {
      CancelAtWorker(*request, kAllOutputs);
      EndWithError(turn, request, v1::ERROR_CODE_INTERNAL, "the worker sent a token out of turn",
                   Outcome::kError);
      return;
    }
    const std::span<const CandidateRecord> top(message.top);
    *tokens.add_tokens() = ToTokenInfo(token, top.subspan(i * top_count, top_count), raw_);
    const bool ends =
        token_index >= request->rules.min_new_tokens && EndsOutput(*request, token.id);
    OutputText::Piece piece = output.text.Push(token.id, ends);
    tokens.mutable_text()->append(piece.text);
    stop_string = piece.stop_string;
  }
  const auto count = static_cast<uint64_t>(tokens.tokens_size());
  if (count == 0) return;
  const uint64_t now = MonotonicNanoseconds();
  if (request->first_token_ns == 0) {
    request->first_token_ns = now;
    metrics_->FirstTokens(count, Seconds(request->accepted_ns, now));
  } else if (output.last_token_ns == 0) {
    metrics_->OtherFirstTokens(count);
  } else {
    metrics_->LaterTokens(count, Seconds(output.last_token_ns, now));
  }
  output.last_token_ns = request->last_token_ns = now;
  output.tokens += static_cast<uint32_t>(count);
  CountBlocks(*request);
  request->stream->Push(std::move(event));
  turn.Touch(request);
  if (stop_string.has_value()) {
    CancelAtWorker(*request, index);
    v1::Finished finished;
    finished.set_reason(v1::FINISH_REASON_STOP_STRING);
    finished.set_stop_string(request->rules.stop_strings[*stop_string]);
    FinishOutput(turn, request, index, std::move(finished), Outcome::kStop);
    Dispatch(turn);
    return;
  }
  PauseIfFull(*request);
}

void Router::OnMessage(size_t group, const Prompt& message) {
  Turn turn(mutex_);
  const Live request = FindIn(group, message.header.key);
  if (request == nullptr) return;
  PushPromptTokens(message, raw_, *request->stream);
  turn.Touch(request);
  PauseIfFull(*request);
}

void Router::OnMessage(size_t group, const Finished& message) {
  Turn turn(mutex_);
  const Live request = FindIn(group, message.key);
  if (request == nullptr || message.output_index >= request->outputs.size()) return;
  LiveRequest::Output& output = request->outputs[message.output_index];
  if (output.finished) return;
  request->cached_prompt_tokens =
      std::max(request->cached_prompt_tokens, message.cached_prompt_tokens);
  v1::Finished finished;
  finished.set_reason(ToFinishReason(message.reason));
  if (message.reason == FlatFinish::kEos || message.reason == FlatFinish::kStopToken) {
    finished.set_stop_token_id(message.stop_token_id);
  }
  const OutputText::Piece piece = output.text.Finish();
  PushText(*request, message.output_index, piece.text);
  if (piece.stop_string.has_value()) {
    finished.set_reason(v1::FINISH_REASON_STOP_STRING);
    finished.set_stop_string(request->rules.stop_strings[*piece.stop_string]);
  }
  const Outcome outcome = OutcomeOf(finished.reason());
  FinishOutput(turn, request, message.output_index, std::move(finished), outcome);
  Dispatch(turn);
}

void Router::OnMessage(size_t group, const Failed& message) {
  Turn turn(mutex_);
  const Live request = FindIn(group, message.key);
  if (request == nullptr) return;
  EndWithError(turn, request, ToErrorCode(message.code), message.message,
               message.code == FlatError::kDeadline ? Outcome::kDeadline : Outcome::kError);
  Dispatch(turn);
}

void Router::OnMessage(size_t index, const StepReport& message) {
  Turn turn(mutex_);
  WorkerGroup& group = groups_[index];
  if (!group.serves() || message.epoch != group.ready.header.epoch) return;  // of one before it
  if (message.step != group.report.step) group.last_progress_ns = MonotonicNanoseconds();
  group.report = message;
  metrics_->Step(index, message);
  Dispatch(turn);
}

void Router::OnMessage(size_t group, const Progress&) {
  Turn turn(mutex_);
  groups_[group].last_progress_ns = MonotonicNanoseconds();
}

void Router::PushText(LiveRequest& request, uint32_t output_index, std::string text) {
  if (text.empty()) return;
  v1::GenerateEvent event;
  event.mutable_tokens()->set_output_index(output_index);
  event.mutable_tokens()->set_text(std::move(text));
  request.stream->Push(std::move(event));
}

void Router::FinishOutput(Turn& turn, const Live& request, uint32_t output_index,
                          v1::Finished finished, Outcome outcome) {
  request->outputs[output_index].finished = true;
  --request->unfinished;
  if (request->state == LiveRequest::State::kRunning) {
    WorkerGroup& group = groups_[request->group];
    --group.running_outputs;
    if (request->paused) --group.paused_outputs;
  }
  CountBlocks(*request);
  finished.set_output_index(output_index);
  const bool last = request->unfinished == 0;
  if (last) {
    *finished.mutable_usage() = UsageOf(*request);
    v1::Timing& timing = *finished.mutable_timing();
    // What never ran has waited until now.
    timing.set_queue_seconds(Seconds(request->accepted_ns, request->started_ns != 0
                                                               ? request->started_ns
                                                               : MonotonicNanoseconds()));
    if (request->first_token_ns != 0) {
      timing.set_time_to_first_token_seconds(
          Seconds(request->accepted_ns, request->first_token_ns));
      timing.set_decode_seconds(Seconds(request->first_token_ns, request->last_token_ns));
    }
  }
  v1::GenerateEvent event;
  *event.mutable_finished() = std::move(finished);
  request->stream->Push(std::move(event));
  turn.Touch(request);
  if (last) Forget(turn, request, outcome);
}

void Router::EndWithError(Turn& turn, const Live& request, v1::ErrorCode code,
                          const std::string& why, Outcome outcome) {
  v1::GenerateEvent event;
  v1::Error& error = *event.mutable_error();
  error.set_code(code);
  error.set_message(why);
  error.set_retryable(Retryable(code));
  if (error.retryable()) error.set_retry_after_seconds(1.0);
  *error.mutable_usage() = UsageOf(*request);
  request->stream->Push(std::move(event));
  Forget(turn, request, outcome);
}

v1::Usage Router::UsageOf(const LiveRequest& request) const {
  v1::Usage usage;
  usage.set_prompt_tokens(request.prompt_tokens());
  usage.set_cached_prompt_tokens(request.cached_prompt_tokens);
  usage.set_output_tokens(static_cast<uint32_t>(request.journal.emitted_tokens()));
  return usage;
}

bool Router::EndsOutput(const LiveRequest& request, uint32_t id) const {
  const Submit& submit = request.journal.submit();
  const auto holds = [id](const std::vector<uint32_t>& ids) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  if (holds(submit.stop_token_ids)) return true;
  return (submit.header.flags & kIgnoreEos) == 0 && holds(options_.eos_ids);
}

}  // namespace shardline
