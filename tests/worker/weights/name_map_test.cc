#include "worker/weights/name_map.h"

#include <gtest/gtest.h>

namespace shardline {
namespace {

const NameTable& Table() {
  static const NameTable kTable{
      .rules = {{"embed", "token_embd"},
                {"*.attn.q", "blk.*.attn_q", RowOrder::kInterleavedHeads, "blk.*.attn_qkv"}},
      .ignored = {"rope_freqs.weight", "old.*.inv_freq", "eyes.**"}};
  return kTable;
}

TEST(MapName, PutsTheBlocksNumberAndKeepsTheKind) {
  EXPECT_EQ(MapName(Table(), "embed.weight").tensor, "token_embd.weight");
  EXPECT_EQ(MapName(Table(), "embed.weight").joined, "");
  const MappedName q = MapName(Table(), "12.attn.q.bias");
  EXPECT_EQ(q.tensor, "blk.12.attn_q.bias");
  EXPECT_EQ(q.order, RowOrder::kInterleavedHeads);
  EXPECT_EQ(q.joined, "blk.12.attn_qkv.bias");
}

TEST(MapName, PutsEveryNumberInItsPlace) {
  const NameTable table{
      .rules = {{"*.norm.*", "layers.*.norms.*"},
                {.slot = "*.k.*", .tensor = "blk.*.k", .fusion = Fusion::kStacked}}};
  EXPECT_EQ(MapName(table, "7.norm.12.weight").tensor, "layers.7.norms.12.weight");
  EXPECT_EQ(MapName(table, "7.k.12.weight").tensor, "blk.7.k.weight");
  EXPECT_EQ(MapName(table, "7.k.12.weight").fusion, Fusion::kStacked);
  EXPECT_EQ(MapName(table, "7.norm.weight").tensor, "");
}

TEST(MapName, CountsBlocksFromTheFirst) {
  const NameTable table{.rules = {{"embed", "layers.0.wte"}, {"*.norm.*", "layers.*.norms.*"}},
                        .first_block = 1};
  EXPECT_EQ(MapName(table, "embed.weight").tensor, "layers.0.wte.weight");
  EXPECT_EQ(MapName(table, "0.norm.5.weight").tensor, "layers.1.norms.5.weight");
}

TEST(MapName, GivesNothingForAnUnknownSlot) {
  EXPECT_EQ(MapName(Table(), "3.attn.x.weight").tensor, "");
  EXPECT_EQ(MapName(Table(), "embed").tensor, "");
  EXPECT_EQ(MapName(Table(), "").tensor, "");
}

TEST(IsIgnored, MatchesAnyNumber) {
  EXPECT_TRUE(IsIgnored(Table(), "rope_freqs.weight"));
  EXPECT_TRUE(IsIgnored(Table(), "old.31.inv_freq"));
  EXPECT_TRUE(IsIgnored(Table(), "eyes.layers.3.weight"));
  EXPECT_FALSE(IsIgnored(Table(), "bright.eyes.weight"));
  EXPECT_FALSE(IsIgnored(Table(), "old.x.inv_freq"));
  EXPECT_FALSE(IsIgnored(Table(), "token_embd.weight"));
}

TEST(FoldNames, JoinsNumbersIntoRanges) {
  EXPECT_EQ(FoldNames({}), "");
  EXPECT_EQ(FoldNames({"a"}), "a");
  EXPECT_EQ(FoldNames({"a.1.x"}), "a.1.x");
  EXPECT_EQ(FoldNames({"a.0.x", "b", "a.1.x", "a.2.x", "a.7.x", "a.0.y"}), "a.{0-2,7}.x, b, a.0.y");
}

}  // namespace
}  // namespace shardline
