#include "gateway/metrics.h"

#include <algorithm>

namespace shardline {
namespace {

// Waiting for a first token: from a millisecond to the minutes of a long prompt.
const std::vector<double> kLongSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                          1,     2.5,    5,     10,   20,    40,   80,  160,  320};
const std::vector<double> kTokenSeconds = {0.0005, 0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015,
                                           0.02,   0.03,  0.05,   0.075, 0.1,    0.15, 0.2,
                                           0.3,    0.5,   0.75,   1,     2.5,    5};
const std::vector<double> kStepTokens = {1,   2,   4,   8,    16,   32,   64,
                                         128, 256, 512, 1024, 2048, 4096, 8192};

}  // namespace

void Distribution::Observe(double value) {
  const auto bound = std::lower_bound(bounds.begin(), bounds.end(), value);
  ++counts[static_cast<size_t>(bound - bounds.begin())];
  sum += value;
  ++count;
}

MetricsSnapshot::MetricsSnapshot()
    : time_to_first_token(kLongSeconds),
      inter_token_latency(kTokenSeconds),
      request_seconds(kLongSeconds),
      queue_seconds(kLongSeconds),
      step_seconds(kTokenSeconds),
      step_tokens(kStepTokens) {}

void Metrics::Rejected() {
  std::lock_guard lock(mutex_);
  ++now_.outcomes[static_cast<size_t>(Outcome::kRejected)];
}

void Metrics::Accepted(uint64_t prompt_tokens) {
  std::lock_guard lock(mutex_);
  ++now_.accepted;
  ++now_.queued;
  now_.queued_tokens += prompt_tokens;
}

void Metrics::Started(uint64_t prompt_tokens, double queue_seconds) {
  std::lock_guard lock(mutex_);
  --now_.queued;
  now_.queued_tokens -= prompt_tokens;
  ++now_.running;
  now_.prompt_tokens += prompt_tokens;
  now_.queue_seconds.Observe(queue_seconds);
}

void Metrics::Ended(Outcome outcome, bool started, uint64_t prompt_tokens, double request_seconds) {
  std::lock_guard lock(mutex_);
  if (started) {
    --now_.running;
  } else {
    --now_.queued;
    now_.queued_tokens -= prompt_tokens;
  }
  ++now_.outcomes[static_cast<size_t>(outcome)];
  now_.request_seconds.Observe(request_seconds);
}

void Metrics::FirstTokens(uint64_t tokens, double seconds_since_accepted) {
  std::lock_guard lock(mutex_);
  now_.output_tokens += tokens;
  now_.time_to_first_token.Observe(seconds_since_accepted);
}

void Metrics::OtherFirstTokens(uint64_t tokens) {
  std::lock_guard lock(mutex_);
  now_.output_tokens += tokens;
}

void Metrics::LaterTokens(uint64_t tokens, double seconds_since_previous) {
  std::lock_guard lock(mutex_);
  now_.output_tokens += tokens;
  for (uint64_t i = 0; i < tokens; ++i) {
    now_.inter_token_latency.Observe(seconds_since_previous / static_cast<double>(tokens));
  }
}

void Metrics::Step(size_t index, const StepReport& report) {
  std::lock_guard lock(mutex_);
  if (index >= groups_.size()) groups_.resize(index + 1);
  Group& group = groups_[index];
  group.kv_blocks_used = report.kv_blocks_used;
  group.kv_blocks_total = report.kv_blocks_total;
  group.preemptions = report.preemptions;
  SumGroups();
  if (report.step == group.last_step) return;  // something else changed than a step
  group.last_step = report.step;
  now_.step_seconds.Observe(static_cast<double>(report.step_ns) * 1e-9);
  now_.step_tokens.Observe(report.step_tokens);
}

void Metrics::WorkerLost(size_t index) {
  std::lock_guard lock(mutex_);
  if (index >= groups_.size()) return;
  preemptions_before_ += groups_[index].preemptions;
  groups_[index] = {};
  SumGroups();
}

void Metrics::SumGroups() {
  now_.kv_blocks_used = now_.kv_blocks_total = 0;
  now_.preemptions = preemptions_before_;
  for (const Group& group : groups_) {
    now_.kv_blocks_used += group.kv_blocks_used;
    now_.kv_blocks_total += group.kv_blocks_total;
    now_.preemptions += group.preemptions;
  }
}

void Metrics::WorkerRestarted() {
  std::lock_guard lock(mutex_);
  ++now_.worker_restarts;
}

void Metrics::Startup(const std::string& phase, double seconds) {
  std::lock_guard lock(mutex_);
  now_.startup_seconds[phase] = seconds;
}

MetricsSnapshot Metrics::Snapshot() const {
  std::lock_guard lock(mutex_);
  return now_;
}

}  // namespace shardline
