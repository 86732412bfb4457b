// Block allocation, and the pools and tables that attention reads.
#include "worker/state/state.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "worker/state/block_allocator.h"
#include "worker/state/memory.h"

namespace shardline {
namespace {

TEST(BlockAllocator, GivesEveryBlockOnce) {
  BlockAllocator blocks(5);
  std::set<int32_t> taken;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(blocks.used(), i);
    taken.insert(blocks.Take());
  }
  EXPECT_EQ(taken, (std::set<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(blocks.free(), 0);
  blocks.Give(3);
  EXPECT_EQ(blocks.free(), 1);
  EXPECT_EQ(blocks.Take(), 3);
}

TEST(BlockAllocator, ASharedBlockIsFreeWhenItsLastHolderGivesIt) {
  BlockAllocator blocks(2);
  const int32_t block = blocks.Take();
  blocks.Share(block);
  blocks.Give(block);
  EXPECT_EQ(blocks.used(), 1);
  blocks.Give(block);
  EXPECT_EQ(blocks.used(), 0);
}

TEST(BlockAllocatorDeathTest, SecondReturnIsACaughtMistake) {
  BlockAllocator blocks(2);
  const int32_t block = blocks.Take();
  blocks.Give(block);
  EXPECT_DEATH(blocks.Give(block), "not taken");
}

TEST(MemoryPool, RefusesMoreThanThereIs) {
  ASSERT_GT(AvailableMemoryBytes(), 0u);
  const auto pool = MemoryPool::Create(size_t{1} << 60);
  EXPECT_EQ(pool.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(MemoryPool, PopulatingKeepsWhatIsWritten) {
  auto pool = MemoryPool::Create(100000);
  ASSERT_TRUE(pool.ok()) << pool.status();
  pool->data()[5000] = std::byte{7};
  pool->Populate(4097, 3000);
  pool->Populate(0, 1 << 20);  // past the end: up to the end
  pool->Populate(200000, 10);
  EXPECT_EQ(pool->data()[5000], std::byte{7});
  EXPECT_EQ(pool->data()[99999], std::byte{0});
}

TEST(StateStorage, PagesOfLayersDoNotOverlapAndStartAtZero) {
  const std::vector<StateGroup> groups = {
      {.layers = 3, .kv_heads = 2, .head_dim = 8, .type = DType::kF32},
      {.layers = 1, .kv_heads = 1, .head_dim = 4, .type = DType::kBF16}};
  auto storage = StateStorage::Create(groups, {7, 3}, 4, 100);
  ASSERT_TRUE(storage.ok()) << storage.status();
  float mark = 1;
  for (int layer = 0; layer < 3; ++layer) {
    const KvPages pages = (*storage)->pages(0, layer);
    for (const View& view : {pages.k, pages.v}) {
      EXPECT_EQ(view.shape, (std::array<int64_t, 4>{7, 2, kBlockTokens, 8}));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(view.data) % 64, 0u);
      for (int64_t i = 0; i < view.elements(); ++i) {
        ASSERT_EQ(view.as<float>()[i], 0);
        view.as<float>()[i] = mark;
      }
      ++mark;
    }
  }
  mark = 1;
  for (int layer = 0; layer < 3; ++layer) {
    const KvPages pages = (*storage)->pages(0, layer);
    for (const View& view : {pages.k, pages.v}) {
      for (int64_t i = 0; i < view.elements(); ++i) ASSERT_EQ(view.as<float>()[i], mark);
      ++mark;
    }
  }
  EXPECT_EQ((*storage)->pages(1, 0).k.type, DType::kBF16);
  EXPECT_EQ((*storage)->pages(1, 0).k.shape[0], 3);
}

TEST(StateStorage, SharedValuesAreColumnsOfTheKeys) {
  const StateGroup group{.layers = 2, .kv_heads = 1, .head_dim = 12, .shared_values = 8};
  EXPECT_EQ(group.block_bytes(), 2u * 12 * kBlockTokens * sizeof(float));
  auto storage = StateStorage::Create({group}, {5}, 1, 80);
  ASSERT_TRUE(storage.ok()) << storage.status();
  const KvPages first = (*storage)->pages(0, 0), second = (*storage)->pages(0, 1);
  for (const KvPages& pages : {first, second}) {
    EXPECT_EQ(pages.v.data, pages.k.data);
    EXPECT_EQ(pages.v.shape, (std::array<int64_t, 4>{5, 1, kBlockTokens, 8}));
    EXPECT_EQ(pages.v.stride, pages.k.stride);
  }
  for (int64_t i = 0; i < first.k.elements(); ++i) first.k.as<float>()[i] = 1;
  for (int64_t i = 0; i < second.k.elements(); ++i) ASSERT_EQ(second.k.as<float>()[i], 0);
}

TEST(StateStorage, AppliesUpdatesInOrder) {
  const std::vector<StateGroup> groups(2, {.layers = 1, .kv_heads = 1, .head_dim = 4});
  auto storage = StateStorage::Create(groups, {9, 9}, 3, 33);  // three blocks of 16 a slot
  ASSERT_TRUE(storage.ok()) << storage.status();
  (*storage)->Apply({{.slot = 1, .group = 0, .index = 2, .block = 8},
                     {.slot = 1, .group = 1, .index = 0, .block = 5},
                     {.slot = 2, .group = 0, .index = 0, .block = 4},
                     {.slot = 1, .group = 0, .index = 2, .block = 6}});
  EXPECT_EQ((*storage)->blocks(0, 1)[2], 6);
  EXPECT_EQ((*storage)->blocks(1, 1)[0], 5);
  EXPECT_EQ((*storage)->blocks(0, 2)[0], 4);
  EXPECT_EQ((*storage)->blocks(0, 0)[0], 0);
}

// Blocks of a recurrent group hold all parts of all layers; a block starts as a copy if it is one.
TEST(StateStorage, WhatDoesNotExistDoesNotFit) {
  const std::vector<StateGroup> groups = {{.layers = 1, .kv_heads = 1, .head_dim = 1}};
  const auto storage = StateStorage::Create(groups, {9}, 3, 33);
  ASSERT_TRUE(storage.ok()) << storage.status();
  const auto fits = [&](uint32_t slot, const BlockUpdate& update) {
    StepPlan plan;
    plan.rows.push_back({.slot = slot, .token_count = 1});
    plan.blocks.push_back(update);
    return (*storage)->Fits(plan);
  };
  EXPECT_TRUE(fits(2, {2, 0, 2, 8, 8}));
  EXPECT_FALSE(fits(3, {2, 0, 2, 8, 8})) << "a row's slot";
  EXPECT_FALSE(fits(2, {3, 0, 2, 8, 8})) << "a slot";
  EXPECT_FALSE(fits(2, {2, 1, 2, 8, 8})) << "a group";
  EXPECT_FALSE(fits(2, {2, 0, 3, 8, 8})) << "an index";
  EXPECT_FALSE(fits(2, {2, 0, 2, 9, 8})) << "a block";
  EXPECT_FALSE(fits(2, {2, 0, 2, -1, 8})) << "a block";
  EXPECT_FALSE(fits(2, {2, 0, 2, 8, 9})) << "a block to copy";
}

TEST(StateStorage, RecurrentBlocksAreCopied) {
  const std::vector<StateGroup> groups = {
      {.layers = 1, .kv_heads = 1, .head_dim = 4},
      {.layers = 2, .parts = {{DType::kBF16, 3, 5}, {DType::kF32, 4, 5}}}};
  EXPECT_EQ(groups[1].block_bytes(), 2u * (3 * 5 * 2 + 4 * 5 * 4));
  auto storage = StateStorage::Create(groups, {9, 3}, 4, 100);
  ASSERT_TRUE(storage.ok()) << storage.status();
  const auto fill = [&](int32_t block, uint8_t value) {
    for (int layer = 0; layer < 2; ++layer) {
      for (int part = 0; part < 2; ++part) {
        const View one = (*storage)->part(1, layer, part).Rows(block, 1);
        std::memset(one.data, value + 2 * layer + part, one.bytes());
      }
    }
  };
  const auto holds = [&](int32_t block, uint8_t value) {
    bool same = true;
    for (int layer = 0; layer < 2; ++layer) {
      for (int part = 0; part < 2; ++part) {
        const View one = (*storage)->part(1, layer, part).Rows(block, 1);
        for (size_t i = 0; i < one.bytes(); ++i) {
          same = same && one.as<uint8_t>()[i] == value + 2 * layer + part;
        }
      }
    }
    return same;
  };
  EXPECT_EQ((*storage)->part(1, 0, 0).shape, (std::array<int64_t, 4>{3, 3, 5, 0}));
  for (int32_t block = 0; block < 3; ++block) fill(block, static_cast<uint8_t>(10 * block + 10));
  (*storage)->Apply({{.slot = 2, .group = 1, .index = 0, .block = 0, .copy_of = 1},
                     {.slot = 3, .group = 1, .index = 0, .block = 2},
                     {.slot = 1, .group = 1, .index = 0, .block = 1, .copy_of = 0}});
  EXPECT_EQ((*storage)->blocks(1, 2)[0], 0);
  EXPECT_EQ((*storage)->blocks(1, 3)[0], 2);
  EXPECT_EQ((*storage)->blocks(1, 1)[0], 1);
  EXPECT_TRUE(holds(0, 20));
  EXPECT_TRUE(holds(1, 20));
  EXPECT_TRUE(holds(2, 30));
}

TEST(StateStorage, TooLargeNamesTheFlag) {
  const std::vector<StateGroup> groups(1, {.layers = 1000, .kv_heads = 64, .head_dim = 128});
  const auto storage = StateStorage::Create(groups, {1 << 24}, 3, 1000);
  ASSERT_FALSE(storage.ok());
  EXPECT_NE(Message(storage.status()).find("--kv-cache-bytes"), std::string::npos);
}

}  // namespace
}  // namespace shardline
