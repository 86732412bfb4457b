// Speed of a model without engine or gateway: loading, decoding one token of each of several
// sequences, a prompt of 512 tokens.
//   SHARDLINE_MODEL=FILE SHARDLINE_DTYPE=bf16 models_benchmark
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "kernels/cpu/thread_pool.h"
#include "worker/models/model.h"

namespace shardline {
namespace {

constexpr int64_t kContext = 1024, kBlocks = kContext / kBlockTokens;

std::string Environment(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : fallback;
}

absl::StatusOr<std::unique_ptr<Model>> Load(ThreadPool& threads) {
  return Model::Load(
      {.path = Environment("SHARDLINE_MODEL", "models/SmolLM2-135M-Instruct.Q4_1.gguf"),
       .dtype = Environment("SHARDLINE_DTYPE", "auto"),
       .ops = &CpuOps(),
       .threads = threads.size() > 1 ? &threads : nullptr,
       .thread_count = threads.size(),
       .max_context = kContext},
      nullptr);
}

struct Rig {
  Rig(int thread_count, int sequences) : threads(thread_count), sequences(sequences) {
    auto loaded = Load(threads);
    if (!loaded.ok()) {
      std::fprintf(stderr, "%s\n", Message(loaded.status()).c_str());
      std::exit(1);
    }
    model = *std::move(loaded);
    const size_t groups = model->state_groups().size();
    state = *StateStorage::Create(model->state_groups(),
                                  std::vector<int32_t>(groups, kBlocks * sequences), sequences,
                                  kContext);
    std::vector<BlockUpdate> updates;
    for (uint32_t g = 0; g < groups; ++g) {
      for (int i = 0; i < sequences * kBlocks; ++i) {
        updates.push_back(
            {static_cast<uint32_t>(i / kBlocks), g, static_cast<uint32_t>(i % kBlocks), i});
      }
    }
    state->Apply(updates);
    logits.resize(kLogitRows * model->info().vocabulary_size);
  }

  // `tokens` tokens of every sequence from `position` on, and the logits of the last ones.
  void Step(int position, int tokens) {
    plan.Clear();
    for (int s = 0; s < sequences; ++s) {
      const auto first = static_cast<uint32_t>(plan.tokens.size());
      plan.rows.push_back({.slot = static_cast<uint32_t>(s),
                           .first_position = position,
                           .token_count = tokens,
                           .first_token = first,
                           .first_wanted = static_cast<uint32_t>(s),
                           .wanted_count = 1,
                           .prompt_tokens = 1});
      for (int i = 0; i < tokens; ++i) {
        plan.tokens.push_back((position * 31 + i * 17 + s) % model->info().vocabulary_size);
      }
      plan.wanted.push_back(first + tokens - 1);
    }
    if (!model->Forward(plan, *state).ok()) std::abort();
    const int64_t vocabulary = model->info().vocabulary_size;
    if (!model
             ->Logits(0, sequences,
                      View::Contiguous(logits.data(), DType::kF32, {sequences, vocabulary}))
             .ok()) {
      std::abort();
    }
  }

  ThreadPool threads;
  int sequences;
  std::unique_ptr<Model> model;
  std::unique_ptr<StateStorage> state;
  StepPlan plan;
  std::vector<float> logits;
};

void BM_Load(benchmark::State& state) {
  ThreadPool threads(static_cast<int>(state.range(0)));
  for (auto _ : state) {
    auto model = Load(threads);
    benchmark::DoNotOptimize(model);
  }
}
BENCHMARK(BM_Load)->Arg(1)->Arg(2)->ArgName("threads")->UseRealTime()->Unit(
    benchmark::kMillisecond);

void BM_Decode(benchmark::State& state) {
  Rig rig(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  rig.Step(0, 32);
  int position = 32;
  for (auto _ : state) {
    rig.Step(position, 1);
    if (++position == 288) position = 32;
  }
  state.SetItemsProcessed(state.iterations() * rig.sequences);
}
BENCHMARK(BM_Decode)
    ->ArgsProduct({{1, 2}, {1, 8, 32}})
    ->ArgNames({"threads", "sequences"})
    ->UseRealTime();

void BM_Prompt512(benchmark::State& state) {
  Rig rig(static_cast<int>(state.range(0)), 1);
  for (auto _ : state) rig.Step(0, 512);
  state.SetItemsProcessed(state.iterations() * 512);
}
BENCHMARK(BM_Prompt512)->Arg(1)->Arg(2)->ArgName("threads")->UseRealTime();

}  // namespace
}  // namespace shardline

BENCHMARK_MAIN();
