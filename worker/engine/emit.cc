// Engine: what goes out. Prompt records, tokens, the end of an output, and the report after each
// step.
#include <algorithm>
#include <limits>

#include "worker/engine/engine.h"

namespace shardline {

absl::Status Engine::Send(const Outbound& message) {
  absl::Status status = port_.Send(message);
  if (!status.ok()) port_status_ = status;
  return status;
}

absl::Status Engine::Emit(std::span<const WantedRow> wanted, std::span<const Sample> samples) {
  for (size_t i = 0; i < wanted.size();) {
    Sequence& sequence = *wanted[i].sequence;
    if (sequence.ended) {
      ++i;
    } else if (samples[i].non_finite) {
      SL_RETURN_IF_ERROR(
          Fail(sequence, FlatError::kNonFiniteLogits,
               Cat("the logits after position ", wanted[i].position, " are not finite")));
      ++i;
    } else if (wanted[i].next_token) {
      SL_RETURN_IF_ERROR(EmitToken(sequence, samples[i]));
      ++i;
    } else {
      Prompt prompt;
      i += CollectPrompt(wanted.subspan(i), samples.subspan(i), prompt);
      sequence.prompt_sent = wanted[i - 1].position + 2;
      SL_RETURN_IF_ERROR(Send(prompt));
    }
  }
  return absl::OkStatus();
}

// The records of one prompt at the front of `wanted`; returns how many.
size_t Engine::CollectPrompt(std::span<const WantedRow> wanted, std::span<const Sample> samples,
                             Prompt& prompt) const {
  const Sequence& sequence = *wanted[0].sequence;
  prompt.header = {sequence.header.key, static_cast<uint32_t>(wanted[0].position + 1),
                   sequence.header.top_logprobs};
  size_t n = 0;
  for (; n < wanted.size() && wanted[n].sequence == &sequence && !wanted[n].next_token; ++n) {
    if (samples[n].non_finite) break;
    prompt.tokens.push_back(samples[n].token);
    prompt.top.insert(prompt.top.end(), samples[n].top.begin(), samples[n].top.end());
  }
  return n;
}

absl::Status Engine::EmitToken(Sequence& sequence, const Sample& sample) {
  Tokens tokens;
  tokens.header = {sequence.header.key, sequence.output_index,
                   static_cast<uint32_t>(sequence.emitted()),
                   static_cast<uint32_t>(sample.top.size()), 0};
  tokens.tokens = {sample.token};
  tokens.top = sample.top;
  sequence.tokens.push_back(sample.token.id);
  sequence.sampler.Push(sample.token.id);
  return Send(tokens);
}

// Looks at what is there, so that a resumed request that had all its tokens ends too.
absl::Status Engine::FinishIfEnded(Sequence& sequence) {
  if (sequence.ended) return absl::OkStatus();
  const auto is_in = [](const std::vector<uint32_t>& ids, uint32_t id) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  if (sequence.emitted() > 0) {
    const uint32_t last = sequence.tokens.back();
    if ((sequence.header.flags & kIgnoreEos) == 0 && is_in(options_.eos_ids, last)) {
      return Finish(sequence, FlatFinish::kEos, last);
    }
    if (is_in(sequence.stop_token_ids, last)) return Finish(sequence, FlatFinish::kStopToken, last);
  }
  if (!sequence.wants_tokens()) return FinishPromptAlone(sequence);
  return sequence.emitted() >= sequence.header.max_new_tokens
             ? Finish(sequence, FlatFinish::kLength, 0)
             : absl::OkStatus();
}

// No tokens are wanted: the outputs of the request end when the prompt's records, which come with
// one of them, have been told.
absl::Status Engine::FinishPromptAlone(const Sequence& sequence) {
  const std::vector<Sequence*> outputs = scheduler_.Outputs(sequence.header.key);
  const bool awaited = std::any_of(outputs.begin(), outputs.end(), [](const Sequence* output) {
    return output->prompt_sent >= 0 && output->remaining() > 0;
  });
  if (awaited) return absl::OkStatus();
  for (Sequence* output : outputs) SL_RETURN_IF_ERROR(Finish(*output, FlatFinish::kLength, 0));
  return absl::OkStatus();
}

absl::Status Engine::Finish(Sequence& sequence, FlatFinish reason, uint32_t stop_token_id) {
  sequence.ended = true;
  changed_ = true;
  return Send(Finished{sequence.header.key, sequence.output_index, reason, stop_token_id,
                       static_cast<uint32_t>(sequence.emitted()), 0, 0});
}

// Ends all outputs of the sequence's request.
absl::Status Engine::Fail(Sequence& sequence, FlatError code, std::string_view message) {
  if (sequence.ended) return absl::OkStatus();
  for (Sequence* output : scheduler_.Outputs(sequence.header.key)) output->ended = true;
  changed_ = true;
  return Send(Failed{sequence.header.key, code, std::string(message)});
}

absl::Status Engine::Report() {
  const int64_t running = scheduler_.running(), waiting = scheduler_.waiting();
  report_.running_sequences = static_cast<uint32_t>(running);
  report_.waiting_sequences = static_cast<uint32_t>(waiting);
  // Slots that nobody already handed over will ask for.
  report_.free_sequences = static_cast<uint32_t>(
      std::max<int64_t>(0, options_.limits.max_sequences - running - waiting));
  report_.kv_blocks_used = scheduler_.blocks().used();
  report_.kv_blocks_total = scheduler_.blocks().total();
  report_.preemptions = scheduler_.preemptions();
  changed_ = false;
  return Send(report_);
}

}  // namespace shardline
