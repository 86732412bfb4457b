// An engine on the mock model, with lists instead of a channel; and what each request must come to,
// worked out without any engine.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "tests/worker/engine/mock_model.h"
#include "tests/worker/engine/submits.h"
#include "worker/engine/engine.h"
#include "worker/engine/logprobs.h"

namespace shardline {

inline constexpr uint32_t kEos = 3;

// Everything that came out for one request.
struct Outcome {
  std::vector<TokenRecord> tokens;
  std::vector<CandidateRecord> top;
  std::vector<TokenRecord> prompt;
  std::vector<CandidateRecord> prompt_top;
  std::optional<Finished> finished;
  std::optional<Failed> failed;
  bool over() const { return finished.has_value() || failed.has_value(); }
};

class ListPort final : public Port {
 public:
  absl::StatusOr<std::optional<Inbound>> Receive(std::chrono::nanoseconds wait) override {
    if (inbox.empty()) {
      waited = wait;
      return std::optional<Inbound>();
    }
    std::optional<Inbound> message = std::move(inbox.front());
    inbox.pop_front();
    return message;
  }

  absl::Status Send(const Outbound& message) override {
    std::visit([this](const auto& m) { Take(m); }, message);
    return send_status;
  }

  uint64_t NowNs() const override { return now; }

  std::deque<Inbound> inbox;
  std::map<RequestKey, Outcome> outcomes;  // of the first output
  std::map<std::pair<RequestKey, uint32_t>, Outcome> others;

  Outcome& Of(RequestKey key, uint32_t output) {
    return output == 0 ? outcomes[key] : others[{key, output}];
  }
  std::vector<StepReport> reports;
  std::chrono::nanoseconds waited{0};
  uint64_t now = 1000;
  absl::Status send_status;

 private:
  Outcome& Live(RequestKey key, uint32_t output) {
    Outcome& outcome = Of(key, output);
    EXPECT_FALSE(outcome.over()) << "nothing comes after the end";
    return outcome;
  }
  void Take(const Tokens& m) {
    Outcome& o = Live(m.header.key, m.header.output_index);
    EXPECT_EQ(m.top.size(), m.tokens.size() * m.header.top_count);
    const uint32_t first = m.header.first_index - static_cast<uint32_t>(o.tokens.size());
    EXPECT_EQ(first_.emplace(std::pair(m.header.key, m.header.output_index), first).first->second,
              first)
        << "no token is left out";
    o.tokens.insert(o.tokens.end(), m.tokens.begin(), m.tokens.end());
    o.top.insert(o.top.end(), m.top.begin(), m.top.end());
  }
  void Take(const Prompt& m) {
    Outcome& o = Live(m.header.key, 0);
    EXPECT_EQ(m.header.first_position, o.prompt.size());
    EXPECT_EQ(m.top.size(), m.tokens.size() * m.header.top_count);
    EXPECT_LE(m.tokens.size(), static_cast<size_t>(kLogitRows));
    EXPECT_TRUE(o.tokens.empty());
    for (auto& [key, other] : others) {
      EXPECT_TRUE(key.first != m.header.key || (other.tokens.empty() && !other.over()))
          << "the prompt comes first";
    }
    o.prompt.insert(o.prompt.end(), m.tokens.begin(), m.tokens.end());
    o.prompt_top.insert(o.prompt_top.end(), m.top.begin(), m.top.end());
  }
  void Take(const Finished& m) { Live(m.key, m.output_index).finished = m; }
  void Take(const Failed& m) {  // ends all outputs; those that the test knows of are told
    Live(m.key, 0).failed = m;
    for (auto& [key, other] : others) {
      if (key.first == m.key) other.failed = m;
    }
  }
  void Take(const StepReport& m) { reports.push_back(m); }

  std::map<std::pair<RequestKey, uint32_t>, uint32_t> first_;
};

struct RigOptions {
  int32_t max_sequences = 4;
  int64_t max_batch_tokens = 64;
  int32_t blocks = 64;
  int64_t context_tokens = 256;
  ThreadPool* threads = nullptr;
  MockState state = MockState::kPaged;
  int32_t recurrent_blocks = 4;
};

class Rig {
 public:
  explicit Rig(const RigOptions& options = {}) : model(options.state), options_(options) {
    model.max_batch_tokens = options.max_batch_tokens;
    std::vector<int32_t> blocks;
    if (options.state != MockState::kRecurrent) {
      blocks = {options.blocks, options.blocks + 1, options.blocks};
    }
    if (options.state != MockState::kPaged) blocks.push_back(options.recurrent_blocks);
    auto storage = StateStorage::Create(model.state_groups(), blocks, options.max_sequences,
                                        options.context_tokens);
    EXPECT_TRUE(storage.ok()) << storage.status();
    state_ = *std::move(storage);
    EngineOptions engine_options;
    engine_options.epoch = 7;
    engine_options.limits = {options.max_sequences, options.max_batch_tokens};
    engine_options.context_tokens = options.context_tokens;
    engine_options.eos_ids = {kEos};
    engine_options.threads = options.threads;
    engine = std::make_unique<Engine>(engine_options, blocks, model, *state_, port);
  }

  void Put(Inbound message) { port.inbox.push_back(std::move(message)); }
  void Round() {
    const absl::Status status = engine->Round(std::chrono::seconds(1));
    ASSERT_TRUE(status.ok()) << status;
  }
  // Rounds until `key` is over; fails after `limit`.
  const Outcome& RunToEnd(RequestKey key, int limit = 10000) {
    for (int i = 0; i < limit && !port.outcomes[key].over(); ++i) Round();
    EXPECT_TRUE(port.outcomes[key].over());
    return port.outcomes[key];
  }
  const Sequence* Find(RequestKey key, uint32_t output = 0) const {
    for (const auto& sequence : engine->scheduler().sequences()) {
      if (sequence->header.key == key && sequence->output_index == output) return sequence.get();
    }
    return nullptr;
  }
  uint64_t blocks_used() const { return engine->scheduler().blocks().used(); }

  ListPort port;
  MockModel model;
  std::unique_ptr<Engine> engine;

 private:
  RigOptions options_;
  std::unique_ptr<StateStorage> state_;
};

// One output of the request alone, without an engine. `outcome.tokens` has the tokens after
// submit.emitted; the prompt's records are the first output's.
inline Outcome Expected(const Submit& submit, uint32_t output = 0) {
  Outcome outcome;
  SampleScratch scratch;
  std::vector<float> row(kMockVocabulary);
  std::vector<RankedToken> best;
  const uint32_t top = submit.header.top_logprobs;
  uint64_t hash = 0;
  const bool want_prompt =
      (submit.header.flags & kWantPromptLogprobs) != 0 && submit.emitted.empty() && output == 0;
  const float none = std::numeric_limits<float>::quiet_NaN();
  for (size_t i = 0; i < submit.prompt.size(); ++i) {
    if (want_prompt && i == 0) {
      outcome.prompt.push_back({submit.prompt[0], none, 0, 0});
      outcome.prompt_top.assign(top, {0, none});
    } else if (want_prompt) {
      MockModel::Fill(hash, false, row.data());
      std::vector<CandidateRecord> candidates;
      const float max = *std::max_element(row.begin(), row.end());
      outcome.prompt.push_back(RawLogprobs(row, max, submit.prompt[i], top, candidates, best));
      outcome.prompt_top.insert(outcome.prompt_top.end(), candidates.begin(), candidates.end());
    }
    hash = MockModel::Mix(hash, submit.prompt[i], false);
  }
  for (const uint32_t token : submit.emitted) hash = MockModel::Mix(hash, token, true);

  auto sampler = Sampler::Create(submit, output, kMockVocabulary, std::vector<uint32_t>{kEos});
  EXPECT_TRUE(sampler.ok()) << sampler.status();
  Finished finished{submit.header.key, output, FlatFinish::kLength, 0, 0, 0, 0};
  while (sampler->emitted() < submit.header.max_new_tokens) {
    MockModel::Fill(hash, false, row.data());
    const Sample sample = sampler->Next(row, scratch);
    const uint32_t id = sample.token.id;
    sampler->Push(id);
    outcome.tokens.push_back(sample.token);
    outcome.top.insert(outcome.top.end(), sample.top.begin(), sample.top.end());
    hash = MockModel::Mix(hash, id, true);
    if ((submit.header.flags & kIgnoreEos) == 0 && id == kEos) {
      finished.reason = FlatFinish::kEos;
    } else if (std::count(submit.stop_token_ids.begin(), submit.stop_token_ids.end(), id) > 0) {
      finished.reason = FlatFinish::kStopToken;
    }
    if (finished.reason != FlatFinish::kLength) {
      finished.stop_token_id = id;
      break;
    }
  }
  finished.output_tokens = sampler->emitted();
  outcome.finished = finished;
  return outcome;
}

inline bool SameBits(float a, float b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

// `got` equals the first records of `expected`; all of them unless `prefix`.
template <typename Record>
void ExpectSame(const std::vector<Record>& got, const std::vector<Record>& expected, bool prefix,
                RequestKey key) {
  ASSERT_LE(got.size(), expected.size()) << "request " << key;
  ASSERT_TRUE(prefix || got.size() == expected.size()) << "request " << key;
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].id, expected[i].id) << "request " << key << " record " << i;
    ASSERT_TRUE(SameBits(got[i].logprob, expected[i].logprob))
        << "request " << key << " record " << i;
    if constexpr (requires { got[i].rank; }) {
      ASSERT_EQ(got[i].rank, expected[i].rank);
    }
  }
}

inline void ExpectOutcome(const Outcome& got, const Outcome& expected, RequestKey key) {
  ASSERT_TRUE(got.finished.has_value())
      << "request " << key << ": " << (got.failed ? got.failed->message : "no end");
  const bool cancelled = got.finished->reason == FlatFinish::kCancelled;
  ExpectSame(got.tokens, expected.tokens, cancelled, key);
  ExpectSame(got.top, expected.top, cancelled, key);
  ExpectSame(got.prompt, expected.prompt, cancelled, key);
  ExpectSame(got.prompt_top, expected.prompt_top, cancelled, key);
  if (cancelled) return;
  EXPECT_EQ(got.finished->reason, expected.finished->reason) << "request " << key;
  EXPECT_EQ(got.finished->stop_token_id, expected.finished->stop_token_id);
  EXPECT_EQ(got.finished->output_tokens, expected.finished->output_tokens);
}

}  // namespace shardline
