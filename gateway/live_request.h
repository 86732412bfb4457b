// A request between `accepted` and its end, as the router keeps it. All but `stream` and the
// constants is guarded by the router's lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/journal.h"
#include "gateway/metrics.h"
#include "gateway/output_text.h"
#include "gateway/stream.h"
#include "gateway/traceparent.h"

namespace shardline {

// What the router needs of a validated request.
struct Admission {
  std::string id;     // never empty
  std::string model;  // as served
  Submit submit;      // key and seed are filled by the router and its caller
  TextRules text;
  bool echo = false;
  uint64_t deadline_ns = 0;  // CLOCK_MONOTONIC; 0: none
  uint64_t detach_ns = 0;    // how long it runs on without a reader; 0: it ends with its reader
  std::optional<Traceparent> parent;
};

struct LiveRequest {
  struct Output {
    OutputText text;
    bool finished = false;
    uint32_t tokens = 0;
    uint64_t last_token_ns = 0;
  };
  enum class State { kQueued, kRunning, kEnded };

  LiveRequest(RequestKey request_key, Admission admission, const Tokenizer* tokenizer,
              EventStream::Limits limits)
      : key(request_key),
        id(std::move(admission.id)),
        model(std::move(admission.model)),
        rules(std::move(admission.text)),
        echo(admission.echo),
        deadline_ns(admission.deadline_ns),
        detach_ns(admission.detach_ns),
        parent(std::move(admission.parent)),
        stream(std::make_shared<EventStream>(limits)),
        journal(std::move(admission.submit)),
        unfinished(journal.submit().header.outputs) {
    for (uint32_t i = 0; i < unfinished; ++i) {
      outputs.push_back({.text = OutputText(tokenizer, rules)});
    }
  }

  uint32_t prompt_tokens() const { return static_cast<uint32_t>(journal.submit().prompt.size()); }

  const RequestKey key;
  const std::string id, model;
  const TextRules rules;
  const bool echo;
  uint64_t deadline_ns;  // of the call that asked, until another reads: then it need not begin
  const uint64_t detach_ns;
  const std::optional<Traceparent> parent;

  const std::shared_ptr<EventStream> stream;

  JournalEntry journal;
  std::vector<uint64_t> prefix;  // the prompt's PrefixHashes, where there is a choice of groups
  std::vector<Output> outputs;
  uint32_t unfinished;  // of the outputs
  State state = State::kQueued;
  size_t group = 0;                 // that it was handed to, once it runs
  uint64_t blocks = 0;              // of the group's committed blocks, while running
  std::atomic<bool> paused{false};  // written under the lock, read by the reader without it
  // When the paused request's reader last took something, and how much it had taken.
  uint64_t stalled_since_ns = 0, stalled_taken = 0;
  uint64_t detached_since_ns = 0;  // 0: it has a reader
  uint64_t accepted_ns = 0, started_ns = 0, first_token_ns = 0, last_token_ns = 0;
  uint32_t cached_prompt_tokens = 0;
};

}  // namespace shardline
