#include "worker/engine/engine.h"

#include <algorithm>
#include <exception>

#include "worker/engine/phase.h"

namespace shardline {

Engine::Engine(EngineOptions options, const std::vector<int32_t>& blocks_per_group, Model& model,
               StateStorage& state, Port& port)
    : options_(std::move(options)),
      model_(model),
      state_(state),
      port_(port),
      vocabulary_(model.info().vocabulary_size),
      scheduler_(options_.limits, KvBlocks(blocks_per_group, model.state_groups(),
                                           options_.limits.max_batch_tokens)),
      reader_(options_.threads),
      logits_(static_cast<size_t>(kLogitRows * vocabulary_)) {
  report_.epoch = options_.epoch;
}

absl::Status Engine::Run() {
  while (!shut_down_) SL_RETURN_IF_ERROR(Round(std::chrono::seconds(60)));
  if (options_.followers != nullptr) (void)options_.followers->Stop();  // or they are gone already
  return absl::OkStatus();
}

absl::Status Engine::Round(std::chrono::nanoseconds wait) {
  SL_RETURN_IF_ERROR(Receive(IdleWait(wait)));
  scheduler_.RemoveEnded();
  if (shut_down_) return absl::OkStatus();

  const uint64_t started = port_.NowNs();
  plan_.Clear();
  plan_.step = report_.step + 1;
  chunks_ = scheduler_.Schedule(plan_.step, plan_.blocks);
  if (changed_) SL_RETURN_IF_ERROR(Report());
  if (chunks_.empty()) return TellFollowers();
  BuildPlan(chunks_, plan_, wanted_);
  TraceArguments what;
  if (options_.trace != nullptr) {
    options_.trace->Span("plan", started, port_.NowNs());
    what = DescribeStep();
  }

  if (const absl::Status computed = Compute(); !computed.ok()) {
    SL_RETURN_IF_ERROR(port_status_);
    if (options_.followers != nullptr) {  // the ranks may be at different places now
      options_.followers->group().Abort(Message(computed));
      return computed;
    }
    SL_RETURN_IF_ERROR(FailStep(computed));
  }
  if (!options_.kv_cache) ForgetComputed();
  scheduler_.RemoveEnded();

  ++report_.step;
  report_.finished_at_ns = port_.NowNs();
  report_.step_ns = report_.finished_at_ns - started;
  report_.step_tokens = static_cast<uint32_t>(plan_.tokens.size());
  if (options_.trace != nullptr) {
    options_.trace->Span("step", started, report_.finished_at_ns, what);
  }
  return Report();
}

// For the trace, before anything of the step ends.
TraceArguments Engine::DescribeStep() const {
  constexpr size_t kMostKeys = 64;
  std::vector<uint64_t> keys;
  uint64_t prompt_tokens = 0;
  for (const Chunk& chunk : chunks_) {
    if (chunk.first < chunk.sequence->prompt_tokens) prompt_tokens += chunk.count;
    if (keys.size() < kMostKeys) keys.push_back(chunk.sequence->header.key);
  }
  return TraceArguments()
      .Add("step", plan_.step)
      .Add("tokens", plan_.tokens.size())
      .Add("prompt_tokens", prompt_tokens)
      .Add("rows", plan_.rows.size())
      .Add("keys", keys);
}

// ---- run and sample
// -----------------------------------------------------------------------------------------

// The model's errors and whatever it throws (libtorch, bad_alloc) end here.
absl::Status Engine::Compute() {
  try {
    SL_RETURN_IF_ERROR(TellFollowers());
    state_.Apply(plan_.blocks);
    {
      const Phase phase(*this, "forward");
      SL_RETURN_IF_ERROR(model_.Forward(plan_, state_));
    }
    for (const Chunk& chunk : chunks_) chunk.sequence->computed += chunk.count;
    SL_RETURN_IF_ERROR(ReadLogits());
    for (const Chunk& chunk : chunks_) SL_RETURN_IF_ERROR(FinishIfEnded(*chunk.sequence));
    return absl::OkStatus();
  } catch (const std::exception& e) {
    return Internal(e.what());
  }
}

// The plan of this step, or that there is none.
absl::Status Engine::TellFollowers() {
  if (options_.followers == nullptr) return absl::OkStatus();
  const uint64_t now = port_.NowNs();
  const bool due =
      now - told_followers_ns_ >= static_cast<uint64_t>(options_.follower_interval.count());
  if (chunks_.empty() && !due) return absl::OkStatus();
  told_followers_ns_ = now;
  return chunks_.empty() ? options_.followers->Wait() : options_.followers->Step(plan_);
}

// Every token starts from nothing, as after a preemption.
void Engine::ForgetComputed() {
  for (const WantedRow& row : wanted_) {
    if (row.next_token) scheduler_.Release(*row.sequence);
  }
}

// In pieces: a long prompt's log-probabilities never stand in memory together.
absl::Status Engine::ReadLogits() {
  for (size_t first = 0; first < wanted_.size(); first += kLogitRows) {
    const auto rows = std::span<const WantedRow>(wanted_).subspan(
        first, std::min<size_t>(kLogitRows, wanted_.size() - first));
    const int64_t count = static_cast<int64_t>(rows.size());
    const View logits = View::Contiguous(logits_.data(), DType::kF32, {count, vocabulary_});
    {
      const Phase phase(*this, "logits");
      SL_RETURN_IF_ERROR(model_.Logits(static_cast<int64_t>(first), count, logits));
    }
    const Phase phase(*this, "sample");
    SL_RETURN_IF_ERROR(Emit(rows, reader_.Read(rows, logits_.data(), vocabulary_)));
    port_.AtWork();
  }
  return absl::OkStatus();
}

absl::Status Engine::FailStep(const absl::Status& why) {
  std::string message = Message(why).substr(0, 300);
  std::replace(message.begin(), message.end(), '\n', ' ');
  for (const Chunk& chunk : chunks_) {
    SL_RETURN_IF_ERROR(Fail(*chunk.sequence, FlatError::kInternal, Cat("step failed: ", message)));
  }
  return absl::OkStatus();
}

}  // namespace shardline
