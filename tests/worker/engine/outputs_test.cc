// Several outputs of one request: the same tokens as each alone, the prompt computed once and its
// blocks held once.
#include <gtest/gtest.h>

#include <numeric>

#include "tests/worker/engine/rig.h"

namespace shardline {
namespace {

Submit Many(RequestKey key, uint32_t prompt, uint32_t outputs, uint32_t max_new_tokens) {
  Submit submit = PlainSubmit(key, {}, max_new_tokens);
  for (uint32_t i = 0; i < prompt; ++i) submit.prompt.push_back((i * 7 + key) % kPoison);
  submit.header.outputs = outputs;
  submit.header.sampling.seed = 5;
  submit.header.flags = kIgnoreEos | kWantLogprobs;
  submit.header.top_logprobs = 2;
  return submit;
}

void RunAll(Rig& rig, const Submit& submit) {
  rig.Put(submit);
  for (uint32_t i = 0; i < submit.header.outputs; ++i) {
    for (int round = 0; round < 2000 && !rig.port.Of(submit.header.key, i).over(); ++round)
      rig.Round();
    ExpectOutcome(rig.port.Of(submit.header.key, i), Expected(submit, i), submit.header.key);
  }
  rig.Round();
  EXPECT_EQ(rig.blocks_used(), 0u);
}

TEST(Outputs, EachHasItsOwnDraws) {
  Rig rig;
  const Submit submit = Many(1, 20, 4, 12);
  RunAll(rig, submit);
  std::set<std::vector<uint32_t>> texts;
  for (uint32_t i = 0; i < 4; ++i) {
    std::vector<uint32_t> ids;
    for (const TokenRecord& token : rig.port.Of(1, i).tokens) ids.push_back(token.id);
    texts.insert(ids);
  }
  EXPECT_EQ(texts.size(), 4u);
}

TEST(Outputs, ThePromptIsComputedAndHeldOnce) {
  Rig rig({.max_batch_tokens = 400});
  rig.model.keep_plans = true;
  const Submit submit = Many(1, 100, 4, 8);
  uint64_t most = 0;
  rig.model.before_forward = [&](const StepPlan&) {
    most = std::max(most, rig.blocks_used());
    return absl::OkStatus();
  };
  RunAll(rig, submit);
  size_t prompt_tokens = 0;
  for (const StepPlan& plan : rig.model.plans) {
    for (const PlanRow& row : plan.rows) {
      if (row.form == RowForm::kPrompt) prompt_tokens += row.token_count;
    }
  }
  EXPECT_EQ(prompt_tokens, 96u + 4 * 4);  // whole blocks once, the rest for each
  EXPECT_EQ(most, 6u + 4);
}

TEST(Outputs, MoreThanThereAreSlots) {
  Rig rig({.max_sequences = 3, .max_batch_tokens = 7});
  RunAll(rig, Many(1, 50, 9, 6));
}

TEST(Outputs, LittleKvPreemptsAndChangesNothing) {
  Rig rig({.max_sequences = 8, .max_batch_tokens = 64, .blocks = 8, .context_tokens = 120});
  RunAll(rig, Many(1, 40, 6, 70));
  EXPECT_GT(rig.port.reports.back().preemptions, 0u);
}

TEST(Outputs, PromptRecordsComeOnceAndFirst) {
  Rig rig({.max_batch_tokens = 30});  // the rig checks the order
  Submit submit = Many(1, 100, 3, 5);
  submit.header.flags |= kWantPromptLogprobs;
  RunAll(rig, submit);
  EXPECT_EQ(rig.port.outcomes[1].prompt.size(), 100u);
}

TEST(Outputs, NoTokensWanted) {
  Rig rig;
  Submit submit = Many(1, 40, 3, 0);
  RunAll(rig, submit);
  submit.header.key = 2;
  submit.header.flags |= kWantPromptLogprobs;
  RunAll(rig, submit);
}

TEST(Outputs, OneIsCancelledAlone) {
  Rig rig({.max_batch_tokens = 200});
  const Submit submit = Many(1, 40, 3, 50);
  rig.Put(submit);
  for (int i = 0; i < 6; ++i) rig.Round();
  rig.Put(Cancel{1, 1, 0});
  rig.Round();
  ASSERT_TRUE(rig.port.Of(1, 1).finished.has_value());
  EXPECT_EQ(rig.port.Of(1, 1).finished->reason, FlatFinish::kCancelled);
  rig.RunToEnd(1);
  for (const uint32_t i : {0u, 2u}) ExpectOutcome(rig.port.Of(1, i), Expected(submit, i), 1);
}

// Whoever holds the prompt may be the first to go.
TEST(Outputs, TheFirstIsCancelledWhileOthersWait) {
  Rig rig({.max_sequences = 2, .max_batch_tokens = 16});
  const Submit submit = Many(1, 60, 4, 5);
  rig.Put(submit);
  rig.Round();
  rig.Put(Cancel{1, 0, 0});
  for (int i = 0; i < 200 && !rig.port.Of(1, 3).over(); ++i) rig.Round();
  for (const uint32_t i : {1u, 2u, 3u}) ExpectOutcome(rig.port.Of(1, i), Expected(submit, i), 1);
}

TEST(Outputs, PausedTogetherAndCancelledTogether) {
  Rig rig({.max_batch_tokens = 200});
  rig.Put(Many(1, 40, 3, 50));
  for (int i = 0; i < 4; ++i) rig.Round();
  rig.Put(Pause{1});
  rig.Round();
  EXPECT_FALSE(rig.engine->scheduler().anything_runnable());
  rig.Put(Cancel{1, kAllOutputs, 0});
  rig.Round();
  for (uint32_t i = 0; i < 3; ++i) EXPECT_TRUE(rig.port.Of(1, i).over());
  EXPECT_EQ(rig.blocks_used(), 0u);
}

TEST(Outputs, AFailureEndsAllOfThem) {
  Rig rig;
  rig.Put(Many(1, 20, 3, 50));
  rig.Round();
  rig.Round();
  rig.model.before_forward = [](const StepPlan&) { return Internal("broken"); };
  rig.Round();
  EXPECT_TRUE(rig.port.outcomes[1].failed.has_value());
  EXPECT_TRUE(rig.engine->scheduler().sequences().empty());
}

}  // namespace
}  // namespace shardline
