#include "gateway/journal.h"

#include <gtest/gtest.h>

namespace shardline {
namespace {

Submit TwoOutputs() {
  Submit submit;
  submit.header.key = 7;
  submit.header.outputs = 2;
  submit.header.max_new_tokens = 9;
  submit.header.sampling.seed = 42;
  submit.prompt = {1, 2, 3};
  return submit;
}

TEST(Journal, KeepsEachOutputsTokensInOrder) {
  JournalEntry entry(TwoOutputs());
  EXPECT_TRUE(entry.Emitted(0, 0, 10));
  EXPECT_TRUE(entry.Emitted(1, 0, 20));
  EXPECT_TRUE(entry.Emitted(0, 1, 11));
  EXPECT_EQ(entry.emitted(0), (std::vector<uint32_t>{10, 11}));
  EXPECT_EQ(entry.emitted(1), (std::vector<uint32_t>{20}));
  EXPECT_EQ(entry.emitted_tokens(), 3u);
}

TEST(Journal, RefusesGapsRepeatsAndUnknownOutputs) {
  JournalEntry entry(TwoOutputs());
  EXPECT_FALSE(entry.Emitted(0, 1, 10));
  EXPECT_TRUE(entry.Emitted(0, 0, 10));
  EXPECT_FALSE(entry.Emitted(0, 0, 10));
  EXPECT_FALSE(entry.Emitted(2, 0, 10));
  EXPECT_EQ(entry.emitted_tokens(), 1u);
}

TEST(Journal, ResubmissionIsTheRequestAndWhatTheClientHas) {
  JournalEntry entry(TwoOutputs());
  ASSERT_TRUE(entry.Emitted(1, 0, 20));
  ASSERT_TRUE(entry.Emitted(1, 1, 21));
  const Submit again = entry.Resubmission(1);
  EXPECT_EQ(again.prompt, (std::vector<uint32_t>{1, 2, 3}));
  EXPECT_EQ(again.emitted, (std::vector<uint32_t>{20, 21}));
  EXPECT_EQ(again.header.sampling.seed, 42u);
  EXPECT_EQ(again.header.max_new_tokens, 9u);
}

}  // namespace
}  // namespace shardline
