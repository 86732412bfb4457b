// Thousands of random requests with random cancels and pauses over very little of everything. Every
// request's tokens and log-probabilities equal what it gives alone; after every round the books
// balance.
#include <gtest/gtest.h>

#include <random>
#include <utility>

#include "tests/worker/engine/rig.h"

namespace shardline {
namespace {

class Load {
 public:
  Load(const RigOptions& options, uint32_t seed) : options_(options), rig_(options), rng_(seed) {}

  void Run(size_t requests) {
    RequestKey next = 1;
    while (next <= requests || !live_.empty()) {
      while (next <= requests && live_.size() < 3u * options_.max_sequences && Below(2) == 0) {
        Add(RandomSubmit(next++));
      }
      Disturb(next > requests);
      Round();
      if (::testing::Test::HasFatalFailure()) return;
      ASSERT_LT(++rounds_, 200 * requests) << "somebody starves";
    }
    CheckEnd();
  }

 private:
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(rng_() % n); }

  Submit RandomSubmit(RequestKey key) {
    const uint32_t most = static_cast<uint32_t>(options_.context_tokens);
    const uint32_t prompt = 1 + Below(Below(3) == 0 ? most - 1 : 20);
    Submit submit = PlainSubmit(key, {}, Below(std::min(most - prompt, 40u) + 1));
    for (uint32_t i = 0; i < prompt; ++i) submit.prompt.push_back(Below(kPoison));
    FlatSampling& s = submit.header.sampling;
    s.seed = key;
    s.temperature = Below(4) == 0 ? 0 : 1;
    if (Below(3) == 0) s.repetition_penalty = 1.2f;
    if (Below(4) == 0) s.top_k = 20;
    if (Below(4) == 0) s.top_p = 0.8f;
    s.repeat_last_n = static_cast<int32_t>(Below(12)) - 1;
    if (Below(2) == 0) submit.header.flags |= kIgnoreEos;
    if (Below(3) == 0) submit.header.flags |= kWantLogprobs;
    if (Below(6) == 0) submit.header.flags |= kWantPromptLogprobs;
    if ((submit.header.flags & (kWantLogprobs | kWantPromptLogprobs)) != 0) {
      submit.header.top_logprobs = Below(4);
    }
    submit.header.min_new_tokens = Below(submit.header.max_new_tokens + 1);
    if (Below(5) == 0) submit.stop_token_ids = {Below(kPoison)};
    if (Below(4) == 0) {
      submit.header.outputs = 2 + Below(4);
    } else if (Below(6) == 0) {  // as after a worker's death
      const Outcome all = Expected(submit);
      // The last token may have been the end: then nothing is resumed.
      const uint32_t n = Below(std::max<uint32_t>(1, static_cast<uint32_t>(all.tokens.size())));
      for (uint32_t i = 0; i < n; ++i) submit.emitted.push_back(all.tokens[i].id);
    }
    return submit;
  }

  void Add(Submit submit) {
    const RequestKey key = submit.header.key;
    live_[key] = submit;
    rig_.Put(std::move(submit));
  }

  void Disturb(bool only_resume) {
    for (const auto& [key, submit] : live_) {
      if (paused_.count(key) > 0) {
        if (!only_resume && Below(20) != 0) continue;
        rig_.Put(Resume{key});
        paused_.erase(key);
        resumed_ = std::min(resumed_, key);
      } else if (!only_resume && Below(60) == 0) {
        rig_.Put(Pause{key});
        paused_.insert(key);
      } else if (!only_resume && Below(400) == 0) {
        rig_.Put(Cancel{key, kAllOutputs, 0});
      }
    }
  }

  // The oldest that runs, and is not paused by a message that has yet to be read.
  const Sequence* OldestRunning() const {
    for (const auto& sequence : rig_.engine->scheduler().sequences()) {
      if (sequence->slot != kNoSlot && paused_.count(sequence->header.key) == 0 &&
          !sequence->paused) {
        return sequence.get();
      }
    }
    return nullptr;
  }

  void Round() {
    const Sequence* oldest = OldestRunning();
    const RequestKey oldest_key = oldest == nullptr ? 0 : oldest->header.key;
    const uint32_t oldest_output = oldest == nullptr ? 0 : oldest->output_index;
    // An older one may have been resumed by this round's messages; then the promise is to that one.
    const bool older_resumed = resumed_ < oldest_key;
    resumed_ = ~RequestKey{0};
    const int64_t computed = oldest == nullptr ? 0 : oldest->computed;
    rig_.Round();
    ASSERT_TRUE(rig_.port.inbox.empty());

    std::vector<std::set<int32_t>> held(4);  // an output's shared blocks count once
    for (const auto& sequence : rig_.engine->scheduler().sequences()) {
      ASSERT_TRUE(sequence->slot != kNoSlot || sequence->blocks.empty());
      for (size_t g = 0; g < sequence->blocks.size(); ++g) {
        held[g].insert(sequence->blocks[g].begin(), sequence->blocks[g].end());
        shared_ = shared_ || (sequence->output_index > 0 && sequence->shared_tokens > 0);
      }
      Turns& turns = turns_[{sequence->header.key, sequence->output_index}];
      const bool served = std::exchange(turns.last, sequence->last_turn) != sequence->last_turn;
      const bool due = sequence->slot != kNoSlot && sequence->runnable();
      turns.missed = due && !served ? turns.missed + 1 : 0;
      ASSERT_LE(turns.missed, 4 * options_.max_sequences) << "starving";
    }
    ASSERT_EQ(rig_.blocks_used(), held[0].size());
    const auto running = static_cast<size_t>(rig_.engine->scheduler().running());
    if (options_.state != MockState::kRecurrent) {
      ASSERT_EQ(held[0].size(), held[1].size());
      held[2].erase(-1);  // passed by the window
      ASSERT_LE(held[2].size(), held[0].size());
    }
    if (options_.state != MockState::kPaged) {
      ASSERT_EQ(held[options_.state == MockState::kBoth ? 3 : 0].size(), running);
    }
    if (const Sequence* after = rig_.Find(oldest_key, oldest_output);
        after != nullptr && !older_resumed) {
      ASSERT_NE(after->slot, kNoSlot) << "the oldest was preempted";
      ASSERT_GE(after->computed, computed);
    }
    for (auto it = live_.begin(); it != live_.end();) {
      const RequestKey key = it->first;
      const uint32_t outputs = it->second.header.outputs;
      bool over = true;
      for (uint32_t i = 0; i < outputs; ++i) over = rig_.port.Of(key, i).over() && over;
      if (!over) {
        ++it;
        continue;
      }
      for (uint32_t i = 0; i < outputs; ++i) {
        ExpectOutcome(rig_.port.Of(key, i), Expected(it->second, i), key);
        rig_.port.others.erase({key, i});
      }
      rig_.port.outcomes.erase(key);
      paused_.erase(key);
      it = live_.erase(it);
    }
  }

  void CheckEnd() {
    rig_.Round();
    EXPECT_EQ(rig_.blocks_used(), 0u);
    const StepReport& report = rig_.port.reports.back();
    EXPECT_EQ(report.running_sequences + report.waiting_sequences, 0u);
    EXPECT_EQ(report.free_sequences, static_cast<uint32_t>(options_.max_sequences));
    EXPECT_GT(report.preemptions, 5u);  // there was need of them
    EXPECT_TRUE(shared_);
  }

  RigOptions options_;
  Rig rig_;
  std::mt19937 rng_;
  std::map<RequestKey, Submit> live_;
  std::set<RequestKey> paused_;
  RequestKey resumed_ = ~RequestKey{0};  // the oldest of this round
  struct Turns {
    uint64_t last = 0;
    int missed = 0;  // rounds in a row without a row in the plan
  };
  std::map<std::pair<RequestKey, uint32_t>, Turns> turns_;
  bool shared_ = false;  // blocks of a prompt, among outputs
  uint64_t rounds_ = 0;
};

TEST(Load, ChunksOfSevenAndLittleKv) {
  Load({.max_sequences = 5, .max_batch_tokens = 7, .blocks = 9, .context_tokens = 120}, 1)
      .Run(1500);
}

TEST(Load, MoreSequencesThanTokensInAStep) {
  Load({.max_sequences = 12, .max_batch_tokens = 5, .blocks = 9, .context_tokens = 90}, 2).Run(800);
}

TEST(Load, OneTokenAStep) {
  Load({.max_sequences = 3, .max_batch_tokens = 1, .blocks = 4, .context_tokens = 50}, 3).Run(200);
}

TEST(Load, LargeStepsOnThreads) {
  ThreadPool threads(3);
  Load({.max_sequences = 16,
        .max_batch_tokens = 300,
        .blocks = 12,
        .context_tokens = 190,
        .threads = &threads},
       4)
      .Run(400);
}

TEST(Load, RecurrentStatesAlone) {
  Load({.max_sequences = 7,
        .max_batch_tokens = 20,
        .context_tokens = 120,
        .state = MockState::kRecurrent,
        .recurrent_blocks = 5},
       5)
      .Run(800);
}

TEST(Load, RecurrentStatesBesideAttention) {
  Load({.max_sequences = 5,
        .max_batch_tokens = 7,
        .blocks = 9,
        .context_tokens = 120,
        .state = MockState::kBoth,
        .recurrent_blocks = 5},
       6)
      .Run(800);
}

}  // namespace
}  // namespace shardline
