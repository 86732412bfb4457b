// The engine's promises one at a time: ends, cancels, pauses, deadlines, failures, resumption,
// reports.
#include "worker/engine/engine.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/worker/engine/rig.h"

namespace shardline {
namespace {

std::vector<uint32_t> Prompt(size_t n, uint32_t seed = 1) {
  std::vector<uint32_t> ids;
  for (size_t i = 0; i < n; ++i) ids.push_back(static_cast<uint32_t>((i * 7 + seed * 13) % 59));
  return ids;
}

Submit Endless(RequestKey key, size_t prompt, uint32_t max_new_tokens) {
  Submit submit = PlainSubmit(key, Prompt(prompt, key), max_new_tokens);
  submit.header.flags = kIgnoreEos;
  submit.header.sampling.seed = key;
  return submit;
}

TEST(Engine, OneRequest) {
  Rig rig;
  Submit submit = Endless(1, 30, 20);
  submit.header.flags |= kWantLogprobs | kWantPromptLogprobs;
  submit.header.top_logprobs = 3;
  rig.Put(submit);
  ExpectOutcome(rig.RunToEnd(1), Expected(submit), 1);
  EXPECT_EQ(rig.blocks_used(), 0u);
  EXPECT_EQ(rig.port.reports.back().running_sequences, 0u);
  EXPECT_EQ(rig.port.reports.back().submitted, 1u);
  EXPECT_EQ(rig.port.reports.back().step, 20u);  // the prompt's step gives the first token
  EXPECT_EQ(rig.port.reports.back().epoch, 7u);
}

TEST(Engine, EndsAtEosAndStopTokens) {
  // Some seeds end early by each of the two.
  std::map<FlatFinish, int> reasons;
  Rig rig({.max_sequences = 8});
  for (RequestKey key = 1; key <= 60; ++key) {
    Submit submit = PlainSubmit(key, Prompt(5, key), 25);
    submit.header.sampling.seed = key;
    submit.stop_token_ids = {8, 9};
    rig.Put(submit);
    const Outcome& outcome = rig.RunToEnd(key);
    ExpectOutcome(outcome, Expected(submit), key);
    ++reasons[outcome.finished->reason];
  }
  EXPECT_GT(reasons[FlatFinish::kEos], 3);
  EXPECT_GT(reasons[FlatFinish::kStopToken], 3);
  EXPECT_GT(reasons[FlatFinish::kLength], 3);
}

TEST(Engine, PromptLogprobsAloneInPieces) {
  Rig rig({.max_batch_tokens = 256});
  Submit submit = PlainSubmit(1, Prompt(200), 0);
  submit.header.flags = kWantPromptLogprobs;
  submit.header.top_logprobs = 2;
  rig.Put(submit);
  const Outcome& outcome = rig.RunToEnd(1);
  ExpectOutcome(outcome, Expected(submit), 1);
  EXPECT_EQ(outcome.prompt.size(), 200u);
  EXPECT_TRUE(outcome.tokens.empty());
}

TEST(Engine, ZeroNewTokensNeedNoStepUnlessThereIsSomethingToTell) {
  Rig rig;
  Submit nothing = PlainSubmit(1, Prompt(10), 0);
  Submit one = PlainSubmit(2, Prompt(1), 0);
  one.header.flags = kWantPromptLogprobs;
  rig.Put(nothing);
  rig.Put(one);
  rig.Round();
  ExpectOutcome(rig.port.outcomes[1], Expected(nothing), 1);
  ExpectOutcome(rig.port.outcomes[2], Expected(one), 2);
  EXPECT_EQ(rig.port.reports.back().step, 0u);
}

TEST(Engine, ResumedRequestGoesOnWhereItWas) {
  Submit whole = Endless(1, 20, 30);
  whole.header.flags |= kWantLogprobs | kWantPromptLogprobs;
  whole.header.sampling.repetition_penalty = 1.3f;
  whole.header.sampling.frequency_penalty = 0.2f;
  whole.header.min_new_tokens = 12;
  const Outcome all = Expected(whole);
  for (const size_t n : {1u, 7u, 29u, 30u}) {
    Rig rig({.max_batch_tokens = 7});
    Submit resumed = whole;
    for (size_t i = 0; i < n; ++i) resumed.emitted.push_back(all.tokens[i].id);
    rig.Put(resumed);
    const Outcome& outcome = rig.RunToEnd(1);
    ExpectOutcome(outcome, Expected(resumed), 1);
    ASSERT_EQ(outcome.tokens.size(), 30 - n);
    for (size_t i = n; i < 30; ++i) EXPECT_EQ(outcome.tokens[i - n].id, all.tokens[i].id);
    EXPECT_TRUE(outcome.prompt.empty());
    EXPECT_EQ(outcome.finished->output_tokens, 30u);
  }
}

TEST(Engine, CancelFreesBeforeTheNextStep) {
  Rig rig;
  rig.Put(Endless(1, 40, 100));
  rig.Put(Endless(2, 10, 100));
  for (int i = 0; i < 5; ++i) rig.Round();
  rig.Put(Cancel{1, kAllOutputs, 0});
  rig.Put(Cancel{99, kAllOutputs, 0});  // unknown: no matter
  rig.model.before_forward = [&](const StepPlan& plan) {
    EXPECT_EQ(plan.rows.size(), 1u);
    EXPECT_EQ(rig.Find(1), nullptr);
    EXPECT_EQ(rig.blocks_used(), 1u);
    return absl::OkStatus();
  };
  rig.Round();
  EXPECT_EQ(rig.port.outcomes[1].finished->reason, FlatFinish::kCancelled);
  EXPECT_FALSE(rig.port.outcomes[2].over());
}

TEST(Engine, CancelWhileNothingRunsIsReported) {
  Rig rig;
  rig.Put(Endless(1, 10, 100));
  rig.Put(Pause{1});
  rig.Round();
  rig.Put(Cancel{1, 0, 0});
  rig.Round();
  EXPECT_TRUE(rig.port.outcomes[1].over());
  EXPECT_EQ(rig.port.reports.back().free_sequences, 4u);
  EXPECT_EQ(rig.port.reports.back().kv_blocks_used, 0u);
}

TEST(Engine, PausedSequenceKeepsItsBlocksAndIsNotScheduled) {
  Rig rig;
  const Submit submit = Endless(1, 40, 30);
  rig.Put(submit);
  for (int i = 0; i < 5; ++i) rig.Round();
  const size_t tokens = rig.port.outcomes[1].tokens.size();
  const uint64_t used = rig.blocks_used();
  rig.Put(Pause{1});
  rig.Put(Endless(2, 10, 5));
  rig.RunToEnd(2);
  EXPECT_EQ(rig.port.outcomes[1].tokens.size(), tokens);
  EXPECT_EQ(rig.blocks_used(), used);
  rig.Put(Resume{1});
  ExpectOutcome(rig.RunToEnd(1), Expected(submit), 1);
  EXPECT_EQ(rig.port.reports.back().preemptions, 0u);
}

TEST(Engine, PausedSequencesDoNotStopTheOthers) {
  Rig rig({.max_sequences = 2, .blocks = 5, .context_tokens = 80});
  const Submit first = Endless(1, 30, 10), second = Endless(2, 20, 10), third = Endless(3, 60, 20);
  rig.Put(first);
  rig.Put(second);
  rig.Round();
  rig.Put(Pause{1});
  rig.Put(Pause{2});
  rig.Put(third);  // needs all five blocks, and a slot
  ExpectOutcome(rig.RunToEnd(3), Expected(third), 3);
  EXPECT_EQ(rig.port.reports.back().preemptions, 2u);
  rig.Put(Resume{1});
  rig.Put(Resume{2});
  ExpectOutcome(rig.RunToEnd(1), Expected(first), 1);
  ExpectOutcome(rig.RunToEnd(2), Expected(second), 2);
}

TEST(Engine, PreemptsTheYoungestAndReplaysItExactly) {
  Rig rig({.blocks = 6, .context_tokens = 96});
  std::vector<Submit> submits;
  for (RequestKey key = 1; key <= 3; ++key) submits.push_back(Endless(key, 20, 60));
  for (const Submit& submit : submits) rig.Put(submit);
  rig.model.keep_plans = true;
  for (const Submit& submit : submits) {
    ExpectOutcome(rig.RunToEnd(submit.header.key), Expected(submit), submit.header.key);
  }
  EXPECT_GT(rig.port.reports.back().preemptions, 0u);
  const bool replayed =
      std::any_of(rig.model.plans.begin(), rig.model.plans.end(), [](const StepPlan& plan) {
        return std::any_of(plan.rows.begin(), plan.rows.end(), [](const PlanRow& row) {
          return row.form == RowForm::kDecode && row.token_count > 1;
        });
      });
  EXPECT_TRUE(replayed);
}

TEST(Engine, NewcomersDoNotStarveALongPrompt) {
  Rig rig({.max_sequences = 3, .max_batch_tokens = 4});
  const Submit longer = Endless(1, 100, 1);
  rig.Put(longer);
  RequestKey next = 2;
  for (int round = 0; round < 150 && !rig.port.outcomes[1].over(); ++round) {
    // Short ones without end: each takes one chunk and is gone.
    while (rig.engine->scheduler().sequences().size() + rig.port.inbox.size() < 6) {
      rig.Put(Endless(next++, 4, 1));
    }
    rig.Round();
  }
  ExpectOutcome(rig.port.outcomes[1], Expected(longer), 1);
}

TEST(Engine, WaitsForMessagesOnlyWhenNothingCanRun) {
  Rig rig;
  rig.Round();  // tells the first report
  rig.Round();
  EXPECT_EQ(rig.port.waited, std::chrono::seconds(1));
  rig.Put(Endless(1, 10, 3));
  rig.Round();
  rig.Round();
  EXPECT_EQ(rig.port.waited, std::chrono::seconds(0));
  rig.Put(Pause{1});
  rig.Round();
  rig.Round();
  EXPECT_EQ(rig.port.waited, std::chrono::seconds(1));
}

TEST(Engine, NonFiniteLogitsEndThatRequestAlone) {
  Rig rig;
  const Submit good = Endless(1, 10, 10);
  Submit bad = Endless(2, 10, 10), bad_prompt = Endless(3, 10, 10);
  bad.prompt.back() = kPoison;
  bad_prompt.prompt[4] = kPoison;
  bad_prompt.header.flags |= kWantPromptLogprobs;
  rig.Put(good);
  rig.Put(bad);
  rig.Put(bad_prompt);
  ExpectOutcome(rig.RunToEnd(1), Expected(good), 1);
  for (const RequestKey key : {2, 3}) {
    ASSERT_TRUE(rig.port.outcomes[key].failed.has_value()) << key;
    EXPECT_EQ(rig.port.outcomes[key].failed->code, FlatError::kNonFiniteLogits);
  }
  EXPECT_EQ(rig.port.outcomes[3].prompt.size(), 5u);  // what came before the poison's successor
  EXPECT_EQ(rig.blocks_used(), 0u);
}

TEST(Engine, FailedStepEndsItsOwnSequencesOnly) {
  for (const bool throws : {false, true}) {
    Rig rig;
    const Submit later = Endless(2, 10, 10);
    rig.Put(Endless(1, 10, 10));
    rig.Put(later);
    rig.Put(Pause{2});
    rig.Round();
    rig.model.before_forward = [&](const StepPlan&) -> absl::Status {
      if (throws) throw std::runtime_error("two\nlines");
      return Internal("two\nlines");
    };
    rig.Round();
    ASSERT_TRUE(rig.port.outcomes[1].failed.has_value());
    EXPECT_EQ(rig.port.outcomes[1].failed->code, FlatError::kInternal);
    EXPECT_EQ(rig.port.outcomes[1].failed->message, "step failed: two lines");
    rig.model.before_forward = nullptr;
    rig.Put(Resume{2});
    ExpectOutcome(rig.RunToEnd(2), Expected(later), 2);
    EXPECT_EQ(rig.blocks_used(), 0u);
  }
}

TEST(Engine, RefusesWhatItCannotServe) {
  Rig rig;
  const auto refusal = [&](RequestKey key, auto change) {
    Submit submit = PlainSubmit(key, Prompt(10), 10);
    change(submit);
    rig.Put(submit);
    rig.Round();
    const Outcome& outcome = rig.port.outcomes[key];
    return outcome.failed.has_value() ? outcome.failed->message : "";
  };
  EXPECT_NE(refusal(1, [](Submit& s) { s.header.outputs = 0; }), "");
  EXPECT_NE(refusal(9, [](Submit& s) { s.header.outputs = 129; }), "");
  EXPECT_NE(refusal(10,
                    [](Submit& s) {
                      s.header.outputs = 2;
                      s.emitted = {1};
                    }),
            "");
  EXPECT_NE(refusal(2, [](Submit& s) { s.prompt.clear(); }), "");
  EXPECT_NE(refusal(3, [](Submit& s) { s.header.max_new_tokens = 247; }), "");
  EXPECT_NE(refusal(4, [](Submit& s) { s.header.max_new_tokens = 0xffffffff; }), "");
  EXPECT_NE(refusal(5, [](Submit& s) { s.prompt[3] = 61; }), "");
  EXPECT_NE(refusal(6, [](Submit& s) { s.emitted.assign(11, 1); }), "");
  EXPECT_NE(refusal(7, [](Submit& s) { s.header.sampling.top_p = 2; }), "");
  EXPECT_EQ(refusal(8, [](Submit& s) { s.header.max_new_tokens = 246; }), "");
  EXPECT_EQ(rig.port.reports.back().submitted, 10u);
}

TEST(Engine, ReportsRoomAsSoonAsItChanges) {
  Rig rig({.max_sequences = 2});
  for (RequestKey key = 1; key <= 3; ++key) rig.Put(Endless(key, 20, 50));
  bool seen = false;
  rig.model.before_forward = [&](const StepPlan&) {
    const StepReport& report = rig.port.reports.back();  // told before the step is run
    EXPECT_EQ(report.submitted, 3u);
    EXPECT_EQ(report.running_sequences, 2u);
    EXPECT_EQ(report.waiting_sequences, 1u);
    EXPECT_EQ(report.free_sequences, 0u);
    EXPECT_EQ(report.kv_blocks_used, 4u);
    EXPECT_EQ(report.kv_blocks_total, 64u);
    seen = true;
    return absl::OkStatus();
  };
  rig.Round();
  EXPECT_TRUE(seen);
  EXPECT_EQ(rig.port.reports.back().step, 1u);
  EXPECT_EQ(rig.port.reports.back().step_tokens, 40u);
}

TEST(Engine, SlotsThatWaitingRequestsWillTakeAreNotOffered) {
  Rig rig({.max_sequences = 4, .blocks = 5, .context_tokens = 80});
  rig.Put(Endless(1, 50, 10));
  rig.Put(Endless(2, 50, 10));  // no blocks for this one yet
  rig.Round();
  EXPECT_EQ(rig.port.reports.back().running_sequences, 1u);
  EXPECT_EQ(rig.port.reports.back().waiting_sequences, 1u);
  EXPECT_EQ(rig.port.reports.back().free_sequences, 2u);
}

TEST(Engine, QueueOfTheWorkerIsBounded) {
  Rig rig({.max_sequences = 1});
  for (RequestKey key = 1; key <= 4200; ++key) rig.Put(Endless(key, 3, 3));
  rig.Round();
  EXPECT_FALSE(rig.port.outcomes[4096].over());
  ASSERT_TRUE(rig.port.outcomes[4200].failed.has_value());
  EXPECT_EQ(rig.port.outcomes[4200].failed->code, FlatError::kOverloaded);
}

TEST(Engine, PortErrorsEndTheLoopAndFailNobody) {
  Rig rig;
  rig.Put(Endless(1, 10, 10));
  rig.Round();
  rig.port.send_status = Unavailable("the gateway is gone");
  EXPECT_EQ(rig.engine->Round(std::chrono::seconds(0)).code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(rig.port.outcomes[1].failed.has_value());
}

TEST(Engine, ShutdownEndsRun) {
  Rig rig;
  rig.Put(Endless(1, 10, 10));
  rig.Put(Shutdown{});
  EXPECT_TRUE(rig.engine->Run().ok());
  EXPECT_TRUE(rig.engine->shut_down());
}

}  // namespace
}  // namespace shardline
