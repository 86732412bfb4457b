// Sends requests of given lengths to a server, in a closed loop (so many at any time) or an open
// one (Poisson arrivals whatever the answers do), and keeps what each of them saw.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "shardline/v1/inference.grpc.pb.h"

namespace shardline::cli {

struct BenchLoad {
  uint32_t concurrency = 0;  // closed loop; 0: open
  double rate = 0;           // arrivals per second, on average
  uint32_t requests = 0;
};

struct BenchRequests {
  std::string model;
  uint32_t vocabulary = 0;
  uint32_t prompt_tokens = 0;
  uint32_t output_tokens = 0;
  uint64_t seed = 0;
  double limit_seconds = 0;  // of each
};

// Seconds of requests that gave all their tokens; `errors` counts the others by what they ended in.
struct BenchSamples {
  std::vector<double> first_token;
  std::vector<double> inter_token;  // of k tokens that come together, each took its k-th part
  std::vector<double> request;
  std::map<std::string, uint64_t> errors;
  uint64_t output_tokens = 0;
  double seconds = 0;      // from the first request to the end of the last
  double cpu_seconds = 0;  // what this program took meanwhile
};

class Bench {
 public:
  Bench(v1::Inference::Stub& stub, BenchRequests requests);

  // Blocks until every request has ended. Prompts differ from run to run.
  BenchSamples Run(const BenchLoad& load);
  // From any thread: ends what runs, and lets Run() return with what it has.
  void Stop();

 private:
  struct State;
  class Call;

  v1::Inference::Stub& stub_;
  BenchRequests requests_;
  std::shared_ptr<State> state_;
};

}  // namespace shardline::cli
