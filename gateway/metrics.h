// The numbers that an operator sees. One lock covers them all, so a scrape is one consistent
// picture: accepted = outcomes other than rejected + in flight holds in every answer, not only at
// rest. Free of prometheus-cpp; metrics_text.cc turns a snapshot into its families.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "shared/ipc/message.h"

namespace shardline {

enum class Outcome { kEos, kStop, kLength, kCancelled, kDeadline, kAborted, kRejected, kError };
inline constexpr std::array<const char*, 8> kOutcomeNames = {
    "eos", "stop", "length", "cancelled", "deadline", "aborted", "rejected", "error"};

// Cumulative counts per upper bound; the last bound is +infinity.
struct Distribution {
  explicit Distribution(std::vector<double> upper_bounds)
      : bounds(std::move(upper_bounds)), counts(bounds.size() + 1) {}
  void Observe(double value);

  std::vector<double> bounds;
  std::vector<uint64_t> counts;  // [bounds + 1], not cumulative
  double sum = 0;
  uint64_t count = 0;
};

struct MetricsSnapshot {
  MetricsSnapshot();

  uint64_t accepted = 0;
  std::array<uint64_t, kOutcomeNames.size()> outcomes{};
  uint64_t running = 0, queued = 0, queued_tokens = 0;
  uint64_t prompt_tokens = 0, output_tokens = 0;
  Distribution time_to_first_token, inter_token_latency, request_seconds, queue_seconds;
  Distribution step_seconds, step_tokens;
  uint64_t kv_blocks_used = 0, kv_blocks_total = 0;
  uint64_t preemptions = 0, worker_restarts = 0;
  std::map<std::string, double> startup_seconds;  // by phase
};

class Metrics {
 public:
  void Rejected();
  // A request's way: Accepted (queued), Started (handed to a worker), Ended.
  void Accepted(uint64_t prompt_tokens);
  void Started(uint64_t prompt_tokens, double queue_seconds);
  void Ended(Outcome outcome, bool started, uint64_t prompt_tokens, double request_seconds);

  // Output tokens that came in one message: the first ones of a request, the first ones of another
  // output, or later ones of an output.
  void FirstTokens(uint64_t tokens, double seconds_since_accepted);
  void OtherFirstTokens(uint64_t tokens);
  void LaterTokens(uint64_t tokens, double seconds_since_previous);

  void Step(size_t group, const StepReport& report);
  void WorkerLost(size_t group);  // it holds nothing any more
  void WorkerRestarted();
  void Startup(const std::string& phase, double seconds);

  MetricsSnapshot Snapshot() const;

 private:
  struct Group {
    uint64_t kv_blocks_used = 0, kv_blocks_total = 0;
    uint64_t preemptions = 0;  // of the worker that serves
    uint64_t last_step = 0;
  };
  void SumGroups();

  mutable std::mutex mutex_;
  MetricsSnapshot now_;
  std::vector<Group> groups_;        // grows with the groups that report
  uint64_t preemptions_before_ = 0;  // of workers that are gone
};

}  // namespace shardline
