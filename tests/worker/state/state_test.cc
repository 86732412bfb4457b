// Block allocation, and the pools and tables that attention reads.
#include "worker/state/state.h"

#include <gtest/gtest.h>

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

TEST(StateStorage, TooLargeNamesTheFlag) {
  const std::vector<StateGroup> groups(1, {.layers = 1000, .kv_heads = 64, .head_dim = 128});
  const auto storage = StateStorage::Create(groups, {1 << 24}, 3, 1000);
  ASSERT_FALSE(storage.ok());
  EXPECT_NE(Message(storage.status()).find("--kv-cache-bytes"), std::string::npos);
}

}  // namespace
}  // namespace shardline
