// What `shardline bench` says about its samples: numbers, a table, JSON, a picture.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "tools/cli/bench_run.h"

namespace shardline::cli {

// The smallest sample that at least `share` (0, 1] of all do not exceed; 0 without samples.
double Percentile(const std::vector<double>& sorted, double share);

struct Spread {
  double mean = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;  // seconds
};
Spread SpreadOf(std::vector<double> samples);

struct BenchResult {
  BenchLoad load;
  uint64_t completed = 0, failed = 0;
  std::map<std::string, uint64_t> errors;
  double seconds = 0;
  double requests_per_second = 0;
  double tokens_per_second = 0;  // output
  Spread first_token, inter_token, request;
  double client_cpu = 0;  // cores that this program kept busy
};
BenchResult ResultOf(const BenchLoad& load, BenchSamples samples);

void WriteBenchTable(const std::vector<BenchResult>& results, std::ostream& out);
std::string BenchJson(const BenchRequests& requests, const std::vector<BenchResult>& results);
// An SVG picture of output tokens per second over the loads; at least one result.
std::string BenchSvg(const BenchRequests& requests, const std::vector<BenchResult>& results);

}  // namespace shardline::cli
