// Time of one row through the sampler: vocabularies of 49152 and 262144, the filters alone and
// together.
#include <benchmark/benchmark.h>

#include <random>

#include "worker/engine/sampler.h"

namespace shardline {
namespace {

enum Case { kGreedy, kPlain, kTopK, kTopP, kWideTopP, kTypical, kPenalised, kLogprobs };

void BM_Sample(benchmark::State& state) {
  const size_t vocabulary = state.range(0);
  Submit submit;
  FlatSampling& s = submit.header.sampling;
  s.temperature = s.top_p = s.typical_p = s.repetition_penalty = 1;
  float spread = 3;
  switch (state.range(1)) {
    case kGreedy:
      s.temperature = 0;
      break;
    case kPlain:
      break;
    case kTopK:
      s.top_k = 40;
      break;
    case kTopP:
      s.top_p = 0.5f;
      break;
    case kWideTopP:
      s.top_p = 0.95f;
      spread = 0.5f;
      break;
    case kTypical:
      s.typical_p = 0.9f;
      break;
    case kPenalised:
      s.repetition_penalty = 1.1f;
      s.repeat_last_n = 64;
      break;
    case kLogprobs:
      submit.header.flags = kWantLogprobs;
      submit.header.top_logprobs = 20;
      break;
  }
  for (uint32_t i = 0; i < 500; ++i) submit.prompt.push_back(i * 31 % vocabulary);
  auto sampler = Sampler::Create(submit, 0, vocabulary, {});
  std::mt19937 rng(1);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> row(vocabulary);
  for (float& x : row) x = normal(rng);
  SampleScratch scratch;
  for (auto _ : state) {
    benchmark::DoNotOptimize(sampler->Next(row, scratch).token.id);
    sampler->Push(7);
  }
  static constexpr const char* kNames[] = {"greedy",     "plain",   "top_k 40",  "top_p",
                                           "wide top_p", "typical", "penalised", "logprobs"};
  state.SetLabel(kNames[state.range(1)]);
}
BENCHMARK(BM_Sample)
    ->ArgsProduct({{49152, 262144},
                   {kGreedy, kPlain, kTopK, kTopP, kWideTopP, kTypical, kPenalised, kLogprobs}})
    ->Unit(benchmark::kMicrosecond)
    ->MinTime(0.1);

}  // namespace
}  // namespace shardline

BENCHMARK_MAIN();
