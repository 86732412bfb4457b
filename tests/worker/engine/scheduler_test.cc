// How one step's token budget is shared.
#include "worker/engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/engine/submits.h"

namespace shardline {
namespace {

class ShareBudgetTest : public ::testing::Test {
 protected:
  Sequence* Make(int64_t prompt, int64_t computed, int64_t emitted = 0) {
    Submit submit = PlainSubmit(1, std::vector<uint32_t>(prompt, 1), 100);
    auto sampler = Sampler::Create(submit, 0, 8, {});
    owned_.push_back(std::make_unique<Sequence>(submit.header, 0, *std::move(sampler)));
    Sequence& sequence = *owned_.back();
    sequence.tokens.assign(prompt + emitted, 1);
    sequence.prompt_tokens = prompt;
    sequence.computed = computed;
    sequence.slot = static_cast<int32_t>(owned_.size());
    return &sequence;
  }
  Sequence* Decode() { return Make(10, 10, 1); }

  static int64_t CountOf(const std::vector<Chunk>& chunks, const Sequence* sequence) {
    int64_t count = 0;
    for (const Chunk& chunk : chunks) count += chunk.sequence == sequence ? chunk.count : 0;
    return count;
  }
  static int64_t Total(const std::vector<Chunk>& chunks) {
    int64_t total = 0;
    for (const Chunk& chunk : chunks) total += chunk.count;
    return total;
  }

  std::vector<std::unique_ptr<Sequence>> owned_;
};

TEST_F(ShareBudgetTest, DecodesFirstThenThePrompt) {
  Sequence *a = Decode(), *b = Decode(), *p = Make(500, 100);
  const std::vector<Chunk> chunks = ShareBudget(64, 1, {a, b}, {p});
  ASSERT_EQ(chunks.size(), 3u);
  EXPECT_EQ(chunks[0].sequence, a);
  EXPECT_EQ(chunks[1].sequence, b);
  EXPECT_EQ(chunks[2].sequence, p);
  EXPECT_EQ(chunks[2].first, 100);
  EXPECT_EQ(chunks[2].count, 62);
}

TEST_F(ShareBudgetTest, ShortPromptsAreNotHeldUpByALongOne) {
  Sequence *longer = Make(5000, 0), *shorter = Make(20, 0), *other = Make(4000, 0);
  const std::vector<Chunk> chunks = ShareBudget(200, 1, {}, {longer, shorter, other});
  EXPECT_EQ(CountOf(chunks, shorter), 20);
  EXPECT_EQ(CountOf(chunks, longer), 90);
  EXPECT_EQ(CountOf(chunks, other), 90);
}

TEST_F(ShareBudgetTest, SmallBudgetGoesRound) {
  std::vector<Sequence*> prefills = {Make(100, 0), Make(100, 0), Make(100, 0)};
  std::map<Sequence*, int64_t> served;
  for (uint64_t step = 1; step <= 9; ++step) {
    const std::vector<Chunk> chunks = ShareBudget(7, step, {}, prefills);
    ASSERT_EQ(chunks.size(), 1u);
    EXPECT_EQ(chunks[0].count, 7);
    ++served[chunks[0].sequence];
  }
  for (Sequence* sequence : prefills) EXPECT_EQ(served[sequence], 3);
}

TEST_F(ShareBudgetTest, ManyDecodesLeaveSomethingForPrompts) {
  std::vector<Sequence*> decodes;
  for (int i = 0; i < 20; ++i) decodes.push_back(Decode());
  Sequence* p = Make(100, 0);
  std::map<Sequence*, int64_t> served;
  for (uint64_t step = 1; step <= 20; ++step) {
    const std::vector<Chunk> chunks = ShareBudget(8, step, decodes, {p});
    EXPECT_EQ(Total(chunks), 8);
    for (const Chunk& chunk : chunks) served[chunk.sequence] += chunk.count;
  }
  EXPECT_EQ(served[p], 20);
  for (Sequence* sequence : decodes) EXPECT_EQ(served[sequence], 7);
}

TEST_F(ShareBudgetTest, BudgetOfOneServesBoth) {
  Sequence *d = Decode(), *p = Make(100, 0);
  std::map<Sequence*, int64_t> served;
  for (uint64_t step = 1; step <= 10; ++step) {
    for (const Chunk& chunk : ShareBudget(1, step, {d}, {p})) served[chunk.sequence] += chunk.count;
  }
  EXPECT_EQ(served[d], 5);
  EXPECT_EQ(served[p], 5);
}

TEST_F(ShareBudgetTest, ReplayDoesNotMixForms) {
  Sequence* replay = Make(50, 40, 20);
  EXPECT_EQ(CountOf(ShareBudget(64, 1, {}, {replay}), replay), 10);  // to the prompt's end
  replay->computed = 50;
  EXPECT_EQ(CountOf(ShareBudget(64, 1, {}, {replay}), replay), 20);
}

}  // namespace
}  // namespace shardline
