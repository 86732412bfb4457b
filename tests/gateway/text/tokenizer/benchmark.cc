// Megabytes a second from text to ids, on English and on hostile text. Uses the default model's
// vocabulary where tools/dev has fetched it, else a small fixture.
#include <benchmark/benchmark.h>

#include <filesystem>
#include <iostream>
#include <string>

#include "gateway/text/tokenizer/tokenizer.h"

namespace shardline {
namespace {

const Tokenizer& TheTokenizer() {
  static const std::unique_ptr<Tokenizer> tokenizer = [] {
    std::string path = SHARDLINE_SOURCE_DIR "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (!std::filesystem::exists(path)) {
      path = SHARDLINE_SOURCE_DIR "/tests/gateway/text/tokenizer/testdata/pre_smollm.gguf";
    }
    auto loaded = LoadTokenizer(path);
    if (!loaded.ok()) {
      std::cerr << loaded.status() << "\n";
      std::exit(1);
    }
    return *std::move(loaded);
  }();
  return *tokenizer;
}

std::string Repeat(std::string_view unit, size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += unit;
  return text;
}

// Words with a long tail, as running text has them.
std::string English(size_t bytes) {
  static constexpr std::string_view kParts[] = {
      "the", "of",       "water", "in",   "govern", "ment",   "light", "and",   "ing",
      "to",  "research", "a",     "time", "er",     "people", "ly",    "under", "stand"};
  std::string text;
  uint32_t state = 1;
  const auto next = [&state](uint32_t below) {
    state = state * 1664525 + 1013904223;
    return (state >> 8) % below;
  };
  while (text.size() < bytes) {
    for (uint32_t n = 1 + next(3); n > 0; --n) text += kParts[next(next(2) == 0 ? 18 : 6)];
    text += next(12) == 0 ? ". It's " : next(9) == 0 ? ", " : " ";
  }
  return text;
}

void Run(benchmark::State& state, const std::string& text) {
  const Tokenizer& tokenizer = TheTokenizer();
  EncodeOptions options;
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.Encode(text, options));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
}

void BM_English(benchmark::State& state) { Run(state, English(1 << 20)); }
void BM_ShortPrompt(benchmark::State& state) { Run(state, English(200)); }
void BM_OneLetter(benchmark::State& state) { Run(state, Repeat("a", 1 << 20)); }
void BM_OneWordOfManyLetters(benchmark::State& state) {
  Run(state, Repeat("qzxjabcdefthe", 1 << 20));
}
void BM_Spaces(benchmark::State& state) { Run(state, Repeat(" ", 1 << 20)); }
void BM_Digits(benchmark::State& state) { Run(state, Repeat("31415926", 1 << 20)); }
void BM_Chinese(benchmark::State& state) {
  Run(state, Repeat("漢字かな交じり文、日本語。", 1 << 20));
}
void BM_SpecialTokens(benchmark::State& state) { Run(state, Repeat("<|im_start|>", 1 << 20)); }
BENCHMARK(BM_English)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_ShortPrompt)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_OneLetter)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_OneWordOfManyLetters)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Spaces)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Digits)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Chinese)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_SpecialTokens)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace shardline

BENCHMARK_MAIN();
