#include "worker/engine/follower.h"

#include <algorithm>
#include <exception>

#include "shared/base/clock.h"

namespace shardline {

Follower::Follower(PlanBroadcast& plans, Model& model, StateStorage& state, Trace* trace,
                   std::function<void()> heard)
    : plans_(plans),
      model_(model),
      state_(state),
      trace_(trace),
      heard_(std::move(heard)),
      logits_(static_cast<size_t>(kLogitRows * model.info().vocabulary_size)) {}

absl::Status Follower::Run() {
  for (;;) {
    SL_ASSIGN_OR_RETURN(const PlanBroadcast::Order order, plans_.Next(plan_));
    if (heard_) heard_();
    if (order == PlanBroadcast::Order::kStop) return absl::OkStatus();
    if (order == PlanBroadcast::Order::kStep) SL_RETURN_IF_ERROR(Step());
  }
}

absl::Status Follower::Step() {
  const uint64_t started = trace_ != nullptr ? MonotonicNanoseconds() : 0;
  if (const absl::Status status = Compute(); !status.ok()) {
    plans_.group().Abort(Message(status));  // rank 0 may wait for this rank
    return status;
  }
  if (trace_ != nullptr) {
    trace_->Span("step", started, MonotonicNanoseconds(),
                 TraceArguments().Add("step", plan_.step).Add("tokens", plan_.tokens.size()));
  }
  return absl::OkStatus();
}

absl::Status Follower::Compute() {
  try {
    if (!state_.Fits(plan_)) {
      return Internal("a plan's sequence slots or blocks do not exist on this rank");
    }
    state_.Apply(plan_.blocks);
    SL_RETURN_IF_ERROR(model_.Forward(plan_, state_));
    const auto wanted = static_cast<int64_t>(plan_.wanted.size());
    for (int64_t first = 0; first < wanted; first += kLogitRows) {
      const int64_t count = std::min(kLogitRows, wanted - first);
      const View logits =
          View::Contiguous(logits_.data(), DType::kF32, {count, model_.info().vocabulary_size});
      SL_RETURN_IF_ERROR(model_.Logits(first, count, logits));
    }
    return absl::OkStatus();
  } catch (const std::exception& e) {
    return Internal(e.what());
  }
}

}  // namespace shardline
