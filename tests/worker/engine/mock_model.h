// A model without arithmetic: the logits after a token are a hash of everything that attention
// could see, read back through the block tables, or of what a recurrence has come to. A wrong
// table, position, chunk or form gives other logits; and what a window should hold, or a
// recurrence beside attention, is compared with what full attention holds.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>
#include <set>
#include <vector>

#include "worker/engine/sampler.h"
#include "worker/models/model.h"

namespace shardline {

inline constexpr int64_t kMockVocabulary = 61, kMockWindow = 20;
inline constexpr uint32_t kPoison = 60;  // after this token, logits are NaN

enum class MockState { kPaged, kRecurrent, kBoth };

class MockModel final : public Model {
 public:
  explicit MockModel(MockState state = MockState::kPaged) {
    info_.vocabulary_size = kMockVocabulary;
    if (state != MockState::kRecurrent) {
      groups_ = {{.layers = 2, .kv_heads = 1, .head_dim = 2},
                 {.layers = 1, .kv_heads = 2, .head_dim = 1},
                 {.layers = 1, .kv_heads = 1, .head_dim = 1, .window = kMockWindow}};
      paged_ = true;
    }
    if (state == MockState::kPaged) return;
    recurrent_ = static_cast<int>(groups_.size());
    groups_.push_back({.layers = 2, .parts = {{DType::kF32, 3, 1}, {DType::kU8, 2, 4}}});
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
    std::vector<uint64_t> recurrent;  // by token
    for (const PlanRow& row : plan.rows) {
      if (recurrent_ >= 0) Recur(plan, row, state, recurrent);
      for (int32_t i = 0; paged_ && i < row.token_count; ++i) {
        const uint32_t token = plan.tokens[row.first_token + i];
        Cell(state, 0, row.slot, row.first_position + i) = static_cast<float>(token);
        Cell(state, 1, row.slot, row.first_position + i) =
            row.form == RowForm::kDecode ? 1.0f : 0.0f;
        Cell(state, 2, row.slot, row.first_position + i) = static_cast<float>(token);
      }
    }
    for (const PlanRow& row : plan.rows) {
      if (paged_) CheckWindows(state, row);
    }
    hashes_.clear();
    for (const PlanRow& row : plan.rows) {
      for (uint32_t w = 0; w < row.wanted_count; ++w) {
        const uint32_t token = plan.wanted[row.first_wanted + w];
        const int64_t position = row.first_position + (token - row.first_token);
        const uint64_t hash = paged_ ? Hash(state, row.slot, position) : recurrent[token];
        if (recurrent_ >= 0) {
          EXPECT_EQ(recurrent[token], hash) << "position " << position;
        }
        hashes_.push_back({hash, plan.tokens[token] == kPoison});
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

  // The hash so far stands in one part of both layers, its negation in the other.
  void Recur(const StepPlan& plan, const PlanRow& row, StateStorage& state,
             std::vector<uint64_t>& hashes) const {
    const int32_t block = state.blocks(recurrent_, row.slot)[0];
    uint64_t hash = 0;
    for (const int layer : {0, 1}) {
      std::byte* stored = state.part(recurrent_, layer, 1).Rows(block, 1).as<std::byte>();
      const View other = state.part(recurrent_, layer, 0).Rows(block, 1);
      if (row.first_position > 0) {
        std::memcpy(&hash, stored, sizeof(hash));
        ASSERT_EQ(*other.as<float>(), -static_cast<float>(hash % 4096));
      }
      uint64_t now = hash;
      for (int32_t i = 0; i < row.token_count; ++i) {
        now = Mix(now, plan.tokens[row.first_token + i], row.form == RowForm::kDecode);
        if (layer == 1) hashes.push_back(now);
      }
      std::memcpy(stored, &now, sizeof(now));
      *other.as<float>() = -static_cast<float>(now % 4096);
    }
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
  bool paged_ = false;
  int recurrent_ = -1;  // its group
  std::vector<std::pair<uint64_t, bool>> hashes_;
};

}  // namespace shardline
