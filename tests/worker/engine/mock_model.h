// A model without arithmetic: the logits after a token are a hash of everything that attention
// could see, read back through the block tables. A wrong table, position, chunk or form gives other
// logits; and what a window should hold is compared with what full attention holds.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <set>
#include <vector>

#include "worker/engine/sampler.h"
#include "worker/models/model.h"

namespace shardline {

inline constexpr int64_t kMockVocabulary = 61, kMockWindow = 20;
inline constexpr uint32_t kPoison = 60;  // after this token, logits are NaN

class MockModel final : public Model {
 public:
  MockModel() {
    info_.vocabulary_size = kMockVocabulary;
    groups_ = {{.layers = 2, .kv_heads = 1, .head_dim = 2},
               {.layers = 1, .kv_heads = 2, .head_dim = 1},
               {.layers = 1, .kv_heads = 1, .head_dim = 1, .window = kMockWindow}};
  }

  const ModelInfo& info() const override { return info_; }
  const std::vector<StateGroup>& state_groups() const override { return groups_; }

  // What one token leaves in the hash.
  static uint64_t Mix(uint64_t hash, uint32_t token, bool decode_form) {
    hash ^= token * 2 + (decode_form ? 1 : 0) + 1;
    hash *= 0x9E3779B97F4A7C15;
    return hash ^ (hash >> 29);
  }
  static void Fill(uint64_t hash, bool poison, float* row) {
    for (int64_t i = 0; i < kMockVocabulary; ++i) {
      const uint64_t x = (hash + i) * 0xD6E8FEB86659FD93;
      row[i] = static_cast<float>((x >> 40) % 4096) / 512.0f - 4.0f;
    }
    row[kPoison] = -100;  // seldom drawn
    if (poison) row[5] = std::numeric_limits<float>::quiet_NaN();
  }

  absl::Status Forward(const StepPlan& plan, StateStorage& state) override {
    Check(plan);
    if (before_forward) SL_RETURN_IF_ERROR(before_forward(plan));
    for (const PlanRow& row : plan.rows) {
      for (int32_t i = 0; i < row.token_count; ++i) {
        const uint32_t token = plan.tokens[row.first_token + i];
        Cell(state, 0, row.slot, row.first_position + i) = static_cast<float>(token);
        Cell(state, 1, row.slot, row.first_position + i) =
            row.form == RowForm::kDecode ? 1.0f : 0.0f;
        Cell(state, 2, row.slot, row.first_position + i) = static_cast<float>(token);
      }
    }
    for (const PlanRow& row : plan.rows) CheckWindows(state, row);
    hashes_.clear();
    for (const PlanRow& row : plan.rows) {
      for (uint32_t w = 0; w < row.wanted_count; ++w) {
        const uint32_t token = plan.wanted[row.first_wanted + w];
        const int64_t position = row.first_position + (token - row.first_token);
        hashes_.push_back({Hash(state, row.slot, position), plan.tokens[token] == kPoison});
      }
    }
    return absl::OkStatus();
  }

  absl::Status Logits(int64_t first, int64_t count, const View& logits) override {
    EXPECT_LE(count, kLogitRows);
    EXPECT_LE(first + count, static_cast<int64_t>(hashes_.size()));
    for (int64_t i = 0; i < count; ++i) {
      Fill(hashes_[first + i].first, hashes_[first + i].second,
           logits.as<float>() + i * logits.stride[0]);
    }
    return absl::OkStatus();
  }

  int64_t max_batch_tokens = 1 << 20;
  std::function<absl::Status(const StepPlan&)> before_forward;
  std::vector<StepPlan> plans;  // all so far, if kept
  bool keep_plans = false;

 private:
  static float& Cell(StateStorage& state, int group, uint32_t slot, int64_t position) {
    const KvPages pages = state.pages(group, 0);
    const int64_t block = state.blocks(group, slot)[position / kBlockTokens];
    return pages.v
        .as<float>()[block * pages.v.stride[0] + position % kBlockTokens * pages.v.stride[2]];
  }

  static void CheckWindows(StateStorage& state, const PlanRow& row) {
    const int64_t first = std::max<int64_t>(0, row.first_position - kMockWindow + 1);
    for (int64_t p = first; p < row.first_position + row.token_count; ++p) {
      ASSERT_EQ(Cell(state, 2, row.slot, p), Cell(state, 0, row.slot, p)) << "position " << p;
    }
  }

  static uint64_t Hash(StateStorage& state, uint32_t slot, int64_t position) {
    uint64_t hash = 0;
    for (int64_t p = 0; p <= position; ++p) {
      hash =
          Mix(hash, static_cast<uint32_t>(Cell(state, 0, slot, p)), Cell(state, 1, slot, p) != 0);
    }
    return hash;
  }

  // What every plan must keep.
  void Check(const StepPlan& plan) {
    ASSERT_FALSE(plan.rows.empty());
    ASSERT_LE(static_cast<int64_t>(plan.tokens.size()), max_batch_tokens);
    std::set<uint32_t> slots;
    uint32_t tokens = 0, wanted = 0;
    for (const PlanRow& row : plan.rows) {
      ASSERT_TRUE(slots.insert(row.slot).second) << "one row for each sequence";
      ASSERT_GE(row.token_count, 1);
      ASSERT_EQ(row.first_token, tokens);
      ASSERT_EQ(row.first_wanted, wanted);
      const int64_t last = row.first_position + row.token_count - 1;
      const bool prompt = row.form == RowForm::kPrompt;
      ASSERT_EQ(prompt, row.first_position < static_cast<int64_t>(row.prompt_tokens));
      ASSERT_EQ(prompt, last < static_cast<int64_t>(row.prompt_tokens));
      tokens += row.token_count;
      wanted += row.wanted_count;
    }
    ASSERT_EQ(plan.tokens.size(), tokens);
    ASSERT_EQ(plan.wanted.size(), wanted);
    if (keep_plans) plans.push_back(plan);
  }

  ModelInfo info_;
  std::vector<StateGroup> groups_;
  std::vector<std::pair<uint64_t, bool>> hashes_;
};

}  // namespace shardline
