// Megabytes a second from text to ids, on English and on hostile text, for each kind of vocabulary:
// the default model's where tools/dev has fetched it, small fixtures otherwise. Files named on the
// command line are measured instead.
#include <benchmark/benchmark.h>

#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "gateway/text/tokenizer/tokenizer.h"

namespace shardline {
namespace {

std::vector<std::string> Files() {
  const std::string data = SHARDLINE_SOURCE_DIR "/tests/gateway/text/tokenizer/testdata/";
  std::string byte_level = SHARDLINE_SOURCE_DIR "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(byte_level)) byte_level = data + "pre_smollm.gguf";
  return {byte_level,       data + "llama3.json",        data + "spm.gguf", data + "unigram.json",
          data + "t5.gguf", data + "unigram_bytes.json", data + "rwkv.gguf"};
}

const Tokenizer& TokenizerOf(const std::string& path) {
  static std::map<std::string, std::unique_ptr<Tokenizer>> loaded;
  std::unique_ptr<Tokenizer>& tokenizer = loaded[path];
  if (tokenizer == nullptr) {
    auto result = LoadTokenizer(path);
    if (!result.ok()) {
      std::cerr << result.status() << "\n";
      std::exit(1);
    }
    tokenizer = *std::move(result);
  }
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

void Run(benchmark::State& state, const std::string& path, const std::string& text) {
  const Tokenizer& tokenizer = TokenizerOf(path);
  EncodeOptions options;
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.Encode(text, options));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
}

void Register(const std::string& path) {
  const std::string file = std::filesystem::path(path).filename().string();
  const auto add = [&](const char* name, std::string text) {
    benchmark::RegisterBenchmark((file + "/" + name).c_str(), [path, text = std::move(text)](
                                                                  benchmark::State& state) {
      Run(state, path, text);
    })->Unit(benchmark::kMillisecond);
  };
  add("English", English(1 << 20));
  add("ShortPrompt", English(200));
  add("OneLetter", Repeat("a", 1 << 20));
  add("EightMegabytesOfOneLetter", Repeat("a", 8 << 20));
  add("OneWordOfManyLetters", Repeat("qzxjabcdefthe", 1 << 20));
  add("Spaces", Repeat(" ", 1 << 20));
  add("Digits", Repeat("31415926", 1 << 20));
  add("Chinese", Repeat("漢字かな交じり文、日本語。", 1 << 20));
  add("Marks", Repeat("e\u0301\u0323", 1 << 20));
  add("SpecialTokens", Repeat("<|im_start|></s>", 1 << 20));
}

}  // namespace
}  // namespace shardline

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  std::vector<std::string> files(argv + 1, argv + argc);
  if (files.empty()) files = shardline::Files();
  for (const std::string& file : files) shardline::Register(file);
  benchmark::RunSpecifiedBenchmarks();
}
