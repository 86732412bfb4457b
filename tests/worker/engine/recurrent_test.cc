// Sequences whose state is a block each, alone and beside attention: taken over at the end of a
// shared prompt, never seen by whoever has the block next, computed again after a preemption.
#include <gtest/gtest.h>

#include "tests/worker/engine/rig.h"

namespace shardline {
namespace {

Submit Request(RequestKey key, uint32_t prompt, uint32_t outputs, uint32_t max_new_tokens) {
  Submit submit = PlainSubmit(key, {}, max_new_tokens);
  for (uint32_t i = 0; i < prompt; ++i) submit.prompt.push_back((i * 7 + key) % kPoison);
  submit.header.outputs = outputs;
  submit.header.sampling.seed = key;
  submit.header.flags = kIgnoreEos | kWantLogprobs;
  submit.header.top_logprobs = 2;
  return submit;
}

void Finish(Rig& rig, const Submit& submit) {
  for (uint32_t i = 0; i < submit.header.outputs; ++i) {
    Outcome& outcome = rig.port.Of(submit.header.key, i);
    for (int round = 0; round < 2000 && !outcome.over(); ++round) rig.Round();
    ExpectOutcome(outcome, Expected(submit, i), submit.header.key);
  }
}

size_t PromptTokens(const Rig& rig) {
  size_t tokens = 0;
  for (const StepPlan& plan : rig.model.plans) {
    for (const PlanRow& row : plan.rows) {
      if (row.form == RowForm::kPrompt) tokens += row.token_count;
    }
  }
  return tokens;
}

class Recurrent : public testing::TestWithParam<MockState> {};

TEST_P(Recurrent, AsManySequencesAsThereAreStates) {
  Rig rig({.max_sequences = 4, .max_batch_tokens = 9, .state = GetParam(), .recurrent_blocks = 2});
  std::vector<Submit> submits;
  for (RequestKey key = 1; key <= 5; ++key) submits.push_back(Request(key, 11 * key, 1, 8));
  for (const Submit& submit : submits) rig.Put(submit);
  int64_t most = 0;
  rig.model.before_forward = [&](const StepPlan&) {
    most = std::max(most, rig.engine->scheduler().running());
    return absl::OkStatus();
  };
  for (const Submit& submit : submits) Finish(rig, submit);
  EXPECT_EQ(most, 2);
  rig.Round();
  EXPECT_EQ(rig.blocks_used(), 0u);
  EXPECT_EQ(rig.port.reports.back().preemptions, 0u);
}

TEST_P(Recurrent, OutputsStartFromACopyOfThePrompt) {
  Rig rig({.max_batch_tokens = 400, .state = GetParam()});
  rig.model.keep_plans = true;
  const Submit submit = Request(1, 100, 4, 8);
  rig.Put(submit);
  Finish(rig, submit);
  EXPECT_EQ(PromptTokens(rig), 96u + 4 * 4);  // whole blocks once, the rest for each
}

// Those without a slot when the state stands at the end of what they share find it gone on.
TEST_P(Recurrent, OutputsThatComeTooLateComputeThePrompt) {
  Rig rig({.max_sequences = 2, .max_batch_tokens = 30, .state = GetParam()});
  rig.model.keep_plans = true;
  const Submit submit = Request(1, 50, 5, 6);
  rig.Put(submit);
  Finish(rig, submit);
  EXPECT_GT(PromptTokens(rig), 48u + 5 * 2);
}

TEST_P(Recurrent, APausedSequenceIsPutOutAndComputedAgain) {
  Rig rig({.max_sequences = 2, .state = GetParam(), .recurrent_blocks = 2});
  const Submit first = Request(1, 30, 1, 10), second = Request(2, 20, 1, 10),
               third = Request(3, 40, 1, 10);
  rig.Put(first);
  rig.Put(second);
  for (int i = 0; i < 4; ++i) rig.Round();
  rig.Put(Pause{1});
  rig.Put(Pause{2});
  rig.Put(third);
  Finish(rig, third);
  EXPECT_EQ(rig.port.reports.back().preemptions, 1u);
  rig.Put(Resume{1});
  rig.Put(Resume{2});
  Finish(rig, first);
  Finish(rig, second);
}

INSTANTIATE_TEST_SUITE_P(All, Recurrent, testing::Values(MockState::kRecurrent, MockState::kBoth),
                         [](const auto& info) {
                           return info.param == MockState::kBoth ? "BesideAttention" : "Alone";
                         });

TEST(RecurrentBesideAttention, LittleKvPreemptsAndChangesNothing) {
  Rig rig({.max_sequences = 8,
           .blocks = 8,
           .context_tokens = 120,
           .state = MockState::kBoth,
           .recurrent_blocks = 8});
  const Submit submit = Request(1, 40, 6, 70);
  rig.Put(submit);
  Finish(rig, submit);
  EXPECT_GT(rig.port.reports.back().preemptions, 0u);
}

}  // namespace
}  // namespace shardline
