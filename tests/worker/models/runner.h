// Drives a Model as the engine does, for tests: sequences with block tables of their own, steps of
// one or more rows, logits of every token.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "worker/models/model.h"
#include "worker/state/state.h"

namespace shardline {

using Logits = std::vector<std::vector<float>>;  // by token: [vocabulary]

// One row of a step.
struct Part {
  uint32_t slot;
  std::span<const uint32_t> tokens;
  uint32_t prompt_tokens;  // of the sequence
};

class Runner {
 public:
  Runner(Model& model, int slots, int64_t context) : model_(model), slots_(slots) {
    const auto blocks = static_cast<int32_t>((context + kBlockTokens - 1) / kBlockTokens);
    const std::vector<StateGroup>& groups = model.state_groups();
    std::vector<int32_t> counts(groups.size(), blocks * slots);
    auto state = StateStorage::Create(groups, counts, slots, context);
    EXPECT_TRUE(state.ok()) << state.status();
    state_ = *std::move(state);
    std::vector<BlockUpdate> updates;
    for (size_t g = 0; g < groups.size(); ++g) {
      for (int slot = 0; slot < slots; ++slot) {
        const int32_t held = groups[g].recurrent() ? 1 : blocks;
        for (int32_t i = 0; i < held; ++i) {  // the blocks of sequences interleave, backwards
          updates.push_back({static_cast<uint32_t>(slot), static_cast<uint32_t>(g),
                             static_cast<uint32_t>(i), (blocks - 1 - i) * slots + slot});
        }
      }
    }
    state_->Apply(updates);
    positions_.assign(slots, 0);
  }

  void Restart() { positions_.assign(slots_, 0); }

  // Runs one step and returns the logits of all its tokens, row by row; of each row from its
  // `first_wanted`th on.
  Logits Step(const std::vector<Part>& parts, int32_t first_wanted = 0) {
    StepPlan plan;
    for (const Part& part : parts) {
      const auto first = static_cast<uint32_t>(plan.tokens.size());
      const auto count = static_cast<int32_t>(part.tokens.size());
      const int32_t position = positions_[part.slot];
      plan.rows.push_back({.slot = part.slot,
                           .first_position = position,
                           .token_count = count,
                           .first_token = first,
                           .first_wanted = static_cast<uint32_t>(plan.wanted.size()),
                           .wanted_count = static_cast<uint32_t>(count - first_wanted),
                           .prompt_tokens = part.prompt_tokens,
                           .form = position < static_cast<int32_t>(part.prompt_tokens)
                                       ? RowForm::kPrompt
                                       : RowForm::kDecode});
      for (int32_t i = 0; i < count; ++i) {
        if (i >= first_wanted) plan.wanted.push_back(first + i);
        plan.tokens.push_back(part.tokens[i]);
      }
      positions_[part.slot] += count;
    }
    return Forward(plan);
  }

  Logits Forward(const StepPlan& plan) {
    const absl::Status status = model_.Forward(plan, *state_);
    EXPECT_TRUE(status.ok()) << status;
    Logits out;
    const auto wanted = static_cast<int64_t>(plan.wanted.size());
    const int64_t vocabulary = model_.info().vocabulary_size;
    for (int64_t first = 0; first < wanted && status.ok(); first += kLogitRows) {
      const int64_t count = std::min(kLogitRows, wanted - first);
      std::vector<float> rows(count * vocabulary);
      const absl::Status got = model_.Logits(
          first, count, View::Contiguous(rows.data(), DType::kF32, {count, vocabulary}));
      EXPECT_TRUE(got.ok()) << got;
      for (int64_t i = 0; i < count; ++i) {
        out.emplace_back(rows.begin() + i * vocabulary, rows.begin() + (i + 1) * vocabulary);
      }
    }
    return out;
  }

  // One sequence alone, `chunk` tokens to a step.
  Logits Sequence(std::span<const uint32_t> tokens, size_t prompt, size_t chunk,
                  uint32_t slot = 0) {
    Logits out;
    for (size_t i = 0; i < tokens.size();) {
      const size_t until = i < prompt ? prompt : tokens.size();  // emitted tokens come one by one
      const size_t count = i < prompt ? std::min(chunk, until - i) : 1;
      for (auto& row : Step({{slot, tokens.subspan(i, count), static_cast<uint32_t>(prompt)}})) {
        out.push_back(std::move(row));
      }
      i += count;
    }
    return out;
  }

  StateStorage& state() { return *state_; }

 private:
  Model& model_;
  int slots_;
  std::unique_ptr<StateStorage> state_;
  std::vector<int32_t> positions_;
};

// Loads a model with f32 arithmetic unless told otherwise; fails the test when it cannot.
struct LoadedModel {
  std::unique_ptr<ThreadPool> threads;
  std::unique_ptr<Model> model;
};
inline LoadedModel LoadModel(const std::string& path, const Ops& ops, std::string dtype = "f32",
                             int threads = 1, int64_t max_context = 0) {
  LoadedModel loaded;
  if (threads > 1) loaded.threads = std::make_unique<ThreadPool>(threads);
  auto model = Model::Load({.path = path,
                            .dtype = std::move(dtype),
                            .ops = &ops,
                            .threads = loaded.threads.get(),
                            .thread_count = threads,
                            .max_batch_tokens = 1024,
                            .max_context = max_context},
                           nullptr);
  EXPECT_TRUE(model.ok()) << model.status();
  if (model.ok()) loaded.model = *std::move(model);
  return loaded;
}

inline std::vector<double> LogSoftmax(const std::vector<float>& logits) {
  double most = -1e300, sum = 0;
  for (float x : logits) most = std::max(most, double{x});
  for (float x : logits) sum += std::exp(x - most);
  std::vector<double> out;
  for (float x : logits) out.push_back(x - most - std::log(sum));
  return out;
}

}  // namespace shardline
