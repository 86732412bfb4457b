#include "gateway/metrics_text.h"

#include <limits>
#include <string>
#include <utility>

namespace shardline {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Collects families, one line each.
class Families {
 public:
  void Counter(const char* name, const char* help, double value) {
    Simple(MetricType::Counter, name, help).counter.value = value;
  }
  void Gauge(const char* name, const char* help, double value) {
    Simple(MetricType::Gauge, name, help).gauge.value = value;
  }
  // A family with one label.
  void Labelled(MetricType type, const char* name, const char* help, const char* label,
                const std::vector<std::pair<std::string, double>>& values) {
    MetricFamily& family = Family(type, name, help);
    for (const auto& [label_value, value] : values) {
      ClientMetric metric;
      metric.label.push_back({label, label_value});
      (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
      family.metric.push_back(std::move(metric));
    }
  }
  void Histogram(const char* name, const char* help, const Distribution& distribution) {
    ClientMetric& metric = Simple(MetricType::Histogram, name, help);
    metric.histogram.sample_count = distribution.count;
    metric.histogram.sample_sum = distribution.sum;
    uint64_t cumulative = 0;
    for (size_t i = 0; i < distribution.bounds.size(); ++i) {
      cumulative += distribution.counts[i];
      metric.histogram.bucket.push_back({cumulative, distribution.bounds[i]});
    }
    metric.histogram.bucket.push_back(
        {distribution.count, std::numeric_limits<double>::infinity()});
  }
  MetricFamily& Family(MetricType type, const char* name, const char* help) {
    MetricFamily family;
    family.type = type;
    family.name = name;
    family.help = help;
    families_.push_back(std::move(family));
    return families_.back();
  }
  std::vector<MetricFamily> Take() { return std::move(families_); }

 private:
  ClientMetric& Simple(MetricType type, const char* name, const char* help) {
    MetricFamily& family = Family(type, name, help);
    family.metric.emplace_back();
    return family.metric.back();
  }
  std::vector<MetricFamily> families_;
};

void AddRequests(Families& families, const MetricsSnapshot& now) {
  families.Counter("shardline_requests_accepted_total", "Requests that got `accepted`",
                   static_cast<double>(now.accepted));
  std::vector<std::pair<std::string, double>> outcomes;
  for (size_t i = 0; i < now.outcomes.size(); ++i) {
    outcomes.emplace_back(kOutcomeNames[i], static_cast<double>(now.outcomes[i]));
  }
  families.Labelled(MetricType::Counter, "shardline_requests_total",
                    "Requests by how they ended; rejected ones were never accepted", "outcome",
                    outcomes);
  families.Gauge("shardline_requests_running", "Requests that the workers have",
                 static_cast<double>(now.running));
  families.Gauge("shardline_requests_queued", "Requests that wait for a worker",
                 static_cast<double>(now.queued));
  families.Gauge("shardline_queued_tokens", "Prompt tokens of the requests that wait",
                 static_cast<double>(now.queued_tokens));
  families.Counter("shardline_prompt_tokens_total", "Prompt tokens handed to a worker",
                   static_cast<double>(now.prompt_tokens));
  families.Counter("shardline_output_tokens_total", "Output tokens sent to clients",
                   static_cast<double>(now.output_tokens));
  families.Counter("shardline_requests_resumed_total", "Requests that went on with another worker",
                   0);
}

void AddTimes(Families& families, const MetricsSnapshot& now) {
  families.Histogram("shardline_time_to_first_token_seconds",
                     "From `accepted` to the first output token", now.time_to_first_token);
  families.Histogram("shardline_inter_token_latency_seconds", "Between an output's tokens",
                     now.inter_token_latency);
  families.Histogram("shardline_request_seconds", "From `accepted` to the end",
                     now.request_seconds);
  families.Histogram("shardline_queue_seconds", "From `accepted` to the worker", now.queue_seconds);
}

void AddWorker(Families& families, const MetricsSnapshot& now) {
  families.Gauge("shardline_kv_blocks_used", "KV blocks that live requests hold",
                 static_cast<double>(now.kv_blocks_used));
  families.Gauge("shardline_kv_blocks_total", "KV blocks of the workers that serve",
                 static_cast<double>(now.kv_blocks_total));
  families.Counter("shardline_prefix_cache_query_tokens_total",
                   "Prompt tokens looked up in the prefix cache (none in this build)", 0);
  families.Counter("shardline_prefix_cache_hit_tokens_total",
                   "Prompt tokens found in the prefix cache (none in this build)", 0);
  families.Counter("shardline_preemptions_total",
                   "Sequences that gave their KV blocks up for others",
                   static_cast<double>(now.preemptions));
  families.Histogram("shardline_step_seconds", "Duration of a step", now.step_seconds);
  families.Histogram("shardline_step_tokens", "Tokens computed in a step", now.step_tokens);
  families.Counter("shardline_worker_restarts_total", "Workers started in place of one that ended",
                   static_cast<double>(now.worker_restarts));
}

void AddBuild(Families& families, const MetricsSnapshot& now) {
  families.Labelled(MetricType::Gauge, "shardline_startup_seconds",
                    "Duration of a phase of the start", "phase",
                    {now.startup_seconds.begin(), now.startup_seconds.end()});
  MetricFamily& build =
      families.Family(MetricType::Gauge, "shardline_build_info", "What was built; always 1");
  ClientMetric metric;
  metric.label = {{"version", SHARDLINE_VERSION},
                  {"commit", SHARDLINE_COMMIT},
                  {"build_type", SHARDLINE_BUILD_TYPE}};
  metric.gauge.value = 1;
  build.metric.push_back(std::move(metric));
}

// The three signals that the Gateway API Inference Extension reads, under the names its recipes
// use.
void AddVllmNames(Families& families, const MetricsSnapshot& now) {
  families.Gauge("vllm:num_requests_waiting", "Requests that wait for a worker",
                 static_cast<double>(now.queued));
  families.Gauge("vllm:num_requests_running", "Requests that the workers have",
                 static_cast<double>(now.running));
  const double total = static_cast<double>(now.kv_blocks_total);
  families.Gauge("vllm:kv_cache_usage_perc",
                 "Share of the KV blocks that live requests hold, 0 to 1",
                 total > 0 ? static_cast<double>(now.kv_blocks_used) / total : 0);
}

}  // namespace

std::vector<MetricFamily> MetricsText::Collect() const {
  const MetricsSnapshot now = metrics_.Snapshot();
  Families families;
  AddRequests(families, now);
  AddTimes(families, now);
  AddWorker(families, now);
  AddBuild(families, now);
  if (vllm_names_) AddVllmNames(families, now);
  return families.Take();
}

}  // namespace shardline
