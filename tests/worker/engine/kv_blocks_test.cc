// Who holds which block, with a window and without.
#include "worker/engine/kv_blocks.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/worker/engine/submits.h"

namespace shardline {
namespace {

constexpr int64_t kWindow = 40, kStep = 24;
const std::vector<StateGroup> kGroups = {
    {.layers = 1, .kv_heads = 1, .head_dim = 8},
    {.layers = 1, .kv_heads = 1, .head_dim = 8, .window = kWindow}};

Sequence MakeSequence(int32_t slot) {
  const Submit submit = PlainSubmit(1, {1}, 10);
  Sequence sequence(submit.header, 0, *Sampler::Create(submit, 0, 8, {}));
  sequence.slot = slot;
  return sequence;
}

// The blocks of a group that a sequence holds.
std::multiset<int32_t> Held(const Sequence& sequence, size_t group) {
  std::multiset<int32_t> held;
  for (const int32_t block : sequence.blocks[group]) {
    if (block >= 0) held.insert(block);
  }
  return held;
}

TEST(KvBlocks, AWindowIsHeldWithRoomForOneStep) {
  KvBlocks blocks({100, 100}, kGroups, kStep);
  Sequence sequence = MakeSequence(0);
  std::vector<std::vector<int32_t>> table(2, std::vector<int32_t>(100, -1));
  for (int64_t chunk : {24, 24, 7, 1, 1, 24, 24, 24, 24, 1}) {
    std::vector<BlockUpdate> updates;
    ASSERT_TRUE(blocks.Grow(sequence, 200, updates));
    for (const BlockUpdate& update : updates) table[update.group][update.index] = update.block;
    // What the next step's tokens see, and they themselves, has a block in the table that is held.
    const int64_t first = std::max<int64_t>(0, sequence.computed - kWindow + 1);
    for (int64_t p = first; p < sequence.computed + chunk; ++p) {
      ASSERT_EQ(Held(sequence, 1).count(table[1][p / kBlockTokens]), 1u) << p;
    }
    EXPECT_LE(Held(sequence, 1).size(), (kWindow + kStep + 15u) / kBlockTokens + 1);
    EXPECT_EQ(Held(sequence, 0).size(), 13u);
    sequence.computed += chunk;
  }
  blocks.Release(sequence);
  EXPECT_EQ(blocks.used(), 0u);
  std::vector<BlockUpdate> updates;
  sequence.computed = 0;
  EXPECT_TRUE(blocks.Grow(sequence, 1600, updates));  // nothing was lost
}

TEST(KvBlocks, APassedBlockGoesToTheNext) {
  KvBlocks blocks({100, 4}, kGroups, 16);
  Sequence one = MakeSequence(0), other = MakeSequence(1);
  std::vector<BlockUpdate> updates;
  for (; one.computed < 64; one.computed += 16) {
    ASSERT_TRUE(blocks.Grow(one, 1000, updates)) << one.computed;
  }
  EXPECT_FALSE(blocks.Grow(other, 16, updates));
  one.computed = 71;  // positions 32 and on are seen: two blocks are passed
  ASSERT_TRUE(blocks.Grow(one, 72, updates));
  EXPECT_TRUE(blocks.Fits(16, 0, 0));
  ASSERT_TRUE(blocks.Grow(other, 16, updates));
  for (const int32_t block : Held(other, 1)) EXPECT_EQ(Held(one, 1).count(block), 0u);
}

TEST(KvBlocks, WhatAWindowLeavesIsSharedWhileItIsThere) {
  KvBlocks blocks({100, 100}, kGroups, kStep);
  Sequence one = MakeSequence(0), other = MakeSequence(1);
  std::vector<BlockUpdate> updates;
  for (; one.computed < 96; one.computed += 16) ASSERT_TRUE(blocks.Grow(one, 100, updates));
  ASSERT_TRUE(blocks.Holds(one, 96));
  updates.clear();
  blocks.Share(other, one, 96, updates);
  EXPECT_EQ(Held(other, 0).size(), 6u);
  EXPECT_EQ(Held(other, 1).size(), 3u);  // positions 57 to 95 lie in blocks 3, 4 and 5
  for (const int32_t block : Held(other, 1)) EXPECT_EQ(Held(one, 1).count(block), 1u);
  EXPECT_EQ(updates.size(), 9u);

  one.computed = 160;  // it has gone on: the shared blocks stay with the other
  ASSERT_TRUE(blocks.Grow(one, 161, updates));
  EXPECT_FALSE(blocks.Holds(one, 96));
  EXPECT_EQ(Held(other, 1).size(), 3u);
  blocks.Release(one);
  blocks.Release(other);
  EXPECT_EQ(blocks.used(), 0u);
}

TEST(KvBlocks, ARecurrentStateIsCopiedWhereItStands) {
  const std::vector<StateGroup> groups = {kGroups[0],
                                          {.layers = 1, .parts = {{DType::kF32, 2, 3}}}};
  KvBlocks blocks({100, 2}, groups, kStep);
  Sequence one = MakeSequence(0), other = MakeSequence(1), third = MakeSequence(2);
  std::vector<BlockUpdate> updates;
  for (; one.computed < 96; one.computed += 16) ASSERT_TRUE(blocks.Grow(one, 100, updates));
  EXPECT_EQ(Held(one, 1).size(), 1u);
  EXPECT_TRUE(blocks.Holds(one, 96));
  EXPECT_FALSE(blocks.Holds(one, 80));
  EXPECT_TRUE(blocks.Fits(100, 96, 5));
  updates.clear();
  blocks.Share(other, one, 96, updates);
  ASSERT_EQ(updates.size(), 7u);  // six of attention
  EXPECT_EQ(updates.back().group, 1u);
  EXPECT_EQ(updates.back().block, *Held(other, 1).begin());
  EXPECT_EQ(updates.back().copy_of, *Held(one, 1).begin());
  EXPECT_NE(updates.back().copy_of, updates.back().block);
  EXPECT_FALSE(blocks.Fits(16, 0, 0));
  EXPECT_FALSE(blocks.Grow(third, 16, updates));
  EXPECT_EQ(blocks.total(), 100u);  // a state never runs out before what it stands beside
  one.computed = 97;
  EXPECT_FALSE(blocks.Holds(one, 96));
  blocks.Release(one);
  ASSERT_TRUE(blocks.Grow(third, 16, updates));
  EXPECT_EQ(updates.back().copy_of, -1);
  blocks.Release(other);
  blocks.Release(third);
  EXPECT_EQ(blocks.used(), 0u);
}

TEST(KvBlocks, CountsWhatRunsOutFirst) {
  KvBlocks blocks({100, 4}, kGroups, 16);
  Sequence sequence = MakeSequence(0);
  std::vector<BlockUpdate> updates;
  ASSERT_TRUE(blocks.Grow(sequence, 80, updates));
  EXPECT_EQ(blocks.total(), 100u);
  EXPECT_EQ(blocks.used(), 5u);
}

}  // namespace
}  // namespace shardline
