#include "tools/cli/bench_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tools/cli/table.h"

namespace shardline::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string Milliseconds(double seconds) { return Fixed("%.1f", seconds * 1e3); }

Json ToJson(const Spread& spread) {
  return {{"mean", spread.mean},
          {"p50", spread.p50},
          {"p90", spread.p90},
          {"p99", spread.p99},
          {"max", spread.max}};
}

}  // namespace

double Percentile(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return 0;
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  return sorted[std::clamp<size_t>(static_cast<size_t>(rank), 1, sorted.size()) - 1];
}

Spread SpreadOf(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  return {.mean = std::accumulate(samples.begin(), samples.end(), 0.0) /
                  static_cast<double>(samples.size()),
          .p50 = Percentile(samples, 0.5),
          .p90 = Percentile(samples, 0.9),
          .p99 = Percentile(samples, 0.99),
          .max = samples.back()};
}

BenchResult ResultOf(const BenchLoad& load, BenchSamples samples) {
  BenchResult result{.load = load, .completed = samples.request.size()};
  result.errors = std::move(samples.errors);
  for (const auto& [error, count] : result.errors) result.failed += count;
  result.seconds = samples.seconds;
  if (samples.seconds > 0) {
    result.requests_per_second = static_cast<double>(result.completed) / samples.seconds;
    result.tokens_per_second = static_cast<double>(samples.output_tokens) / samples.seconds;
    result.client_cpu = samples.cpu_seconds / samples.seconds;
  }
  result.first_token = SpreadOf(std::move(samples.first_token));
  result.inter_token = SpreadOf(std::move(samples.inter_token));
  result.request = SpreadOf(std::move(samples.request));
  return result;
}

void WriteBenchTable(const std::vector<BenchResult>& results, std::ostream& out) {
  const bool open = !results.empty() && results[0].load.concurrency == 0;
  std::vector<Row> rows = {{open ? ">RATE" : ">CONCURRENCY", ">REQUESTS", ">ERRORS", ">REQ/S",
                            ">TOK/S", ">TTFT P50", ">P90", ">P99", ">ITL P50", ">P90", ">P99",
                            ">CLIENT CPU"}};
  for (const BenchResult& result : results) {
    rows.push_back(
        {open ? Cat(result.load.rate) : Cat(result.load.concurrency), Cat(result.completed),
         Cat(result.failed), Fixed("%.2f", result.requests_per_second),
         Fixed("%.1f", result.tokens_per_second), Milliseconds(result.first_token.p50),
         Milliseconds(result.first_token.p90), Milliseconds(result.first_token.p99),
         Milliseconds(result.inter_token.p50), Milliseconds(result.inter_token.p90),
         Milliseconds(result.inter_token.p99), Fixed("%.1f %%", 100 * result.client_cpu)});
  }
  WriteTable(std::move(rows), out);
}

std::string BenchJson(const BenchRequests& requests, const std::vector<BenchResult>& results) {
  Json json = {{"model", requests.model},
               {"prompt_tokens", requests.prompt_tokens},
               {"output_tokens", requests.output_tokens},
               {"seed", requests.seed},
               {"results", Json::array()}};
  for (const BenchResult& result : results) {
    Json one;
    if (result.load.concurrency > 0) one["concurrency"] = result.load.concurrency;
    if (result.load.concurrency == 0) one["rate"] = result.load.rate;
    one["completed"] = result.completed;
    one["failed"] = result.failed;
    one["errors"] = result.errors;
    one["seconds"] = result.seconds;
    one["requests_per_second"] = result.requests_per_second;
    one["output_tokens_per_second"] = result.tokens_per_second;
    one["time_to_first_token_seconds"] = ToJson(result.first_token);
    one["inter_token_latency_seconds"] = ToJson(result.inter_token);
    one["request_seconds"] = ToJson(result.request);
    one["client_cpu_cores"] = result.client_cpu;
    json["results"].push_back(std::move(one));
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace shardline::cli
