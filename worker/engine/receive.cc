// Engine: what comes in. Requests start, end, pause and resume here, between two steps.
#include <algorithm>
#include <limits>

#include "worker/engine/engine.h"

namespace shardline {
namespace {

// Outputs handed over beyond what runs; the gateway's own queue is the long one.
constexpr int64_t kMaxWaiting = 4096;
constexpr uint32_t kMaxOutputs = 128;  // of one request

}  // namespace

// How long to wait for messages: not at all while something can run.
std::chrono::nanoseconds Engine::IdleWait(std::chrono::nanoseconds wait) const {
  if (changed_ || scheduler_.anything_runnable()) return std::chrono::nanoseconds(0);
  if (options_.followers != nullptr) wait = std::min(wait, options_.follower_interval);
  return wait;
}

absl::Status Engine::Receive(std::chrono::nanoseconds wait) {
  for (int taken = 0; taken < 10000 && !shut_down_; ++taken) {  // a flood does not stop the steps
    SL_ASSIGN_OR_RETURN(std::optional<Inbound> message, port_.Receive(wait));
    if (!message.has_value()) return absl::OkStatus();
    SL_RETURN_IF_ERROR(
        std::visit([this](auto& m) -> absl::Status { return Handle(std::move(m)); }, *message));
    changed_ = true;
    wait = std::chrono::nanoseconds(0);
  }
  return absl::OkStatus();
}

absl::Status Engine::CheckSubmit(const Submit& submit) const {
  const uint32_t outputs = submit.header.outputs;
  if (outputs < 1 || outputs > kMaxOutputs) {
    return InvalidArgument(outputs, " outputs are asked for, 1 to ", kMaxOutputs, " are served");
  }
  if (outputs > 1 && !submit.emitted.empty()) {
    return InvalidArgument("emitted tokens belong to one output, ", outputs, " are asked for");
  }
  if (submit.prompt.empty()) return InvalidArgument("the prompt is empty");
  const uint64_t length = uint64_t{submit.prompt.size()} + submit.header.max_new_tokens;
  if (length > static_cast<uint64_t>(options_.context_tokens)) {
    return InvalidArgument("prompt and max_new_tokens are ", length, " tokens, the context holds ",
                           options_.context_tokens);
  }
  if (submit.emitted.size() > submit.header.max_new_tokens) {
    return InvalidArgument(submit.emitted.size(), " tokens are emitted already, max_new_tokens is ",
                           submit.header.max_new_tokens);
  }
  return absl::OkStatus();
}

absl::Status Engine::Handle(Submit submit) {
  ++report_.submitted;
  const RequestKey key = submit.header.key;
  if (const auto live = scheduler_.Outputs(key); !live.empty()) {
    return Fail(*live[0], FlatError::kInternal, "a second request came with the same key");
  }
  if (scheduler_.waiting() >= kMaxWaiting) {
    return Send(Failed{key, FlatError::kOverloaded, "the worker's queue is full"});
  }
  absl::Status status = CheckSubmit(submit);
  std::vector<std::unique_ptr<Sequence>> outputs;
  for (uint32_t i = 0; status.ok() && i < submit.header.outputs; ++i) {
    auto sampler = Sampler::Create(submit, i, static_cast<uint32_t>(vocabulary_), options_.eos_ids);
    status = sampler.status();
    if (status.ok()) {
      outputs.push_back(std::make_unique<Sequence>(submit.header, i, *std::move(sampler)));
    }
  }
  if (!status.ok()) return Send(Failed{key, FlatError::kInternal, Message(status)});
  for (auto& output : outputs) SL_RETURN_IF_ERROR(Start(std::move(output), submit));
  return absl::OkStatus();
}

absl::Status Engine::Start(std::unique_ptr<Sequence> sequence, const Submit& submit) {
  Sequence& s = *sequence;
  s.prompt_tokens = static_cast<int64_t>(submit.prompt.size());
  if (submit.header.outputs > 1 && options_.kv_cache) {
    s.shared_tokens = (s.prompt_tokens - 1) / kBlockTokens * kBlockTokens;
  }
  s.tokens.reserve(submit.prompt.size() + submit.emitted.size() + 64);
  s.tokens = submit.prompt;
  s.tokens.insert(s.tokens.end(), submit.emitted.begin(), submit.emitted.end());
  s.stop_token_ids = submit.stop_token_ids;
  s.header.top_logprobs = std::min<uint32_t>(s.header.top_logprobs, vocabulary_);
  scheduler_.Add(std::move(sequence));
  // Whoever has output tokens already has all of the prompt's records too.
  if ((s.header.flags & kWantPromptLogprobs) != 0 && submit.emitted.empty() &&
      s.output_index == 0) {
    Prompt first{{s.header.key, 0, s.header.top_logprobs}, {}, {}};
    const float none = std::numeric_limits<float>::quiet_NaN();
    first.tokens.push_back({s.tokens[0], none, 0, 0});
    first.top.assign(s.header.top_logprobs, {0, none});
    SL_RETURN_IF_ERROR(Send(first));
    s.prompt_sent = 1;
  }
  return FinishIfEnded(s);
}

absl::Status Engine::Handle(const Cancel& cancel) {
  for (Sequence* output : scheduler_.Outputs(cancel.key)) {
    if (cancel.output_index != kAllOutputs && cancel.output_index != output->output_index) continue;
    SL_RETURN_IF_ERROR(Finish(*output, FlatFinish::kCancelled, 0));
  }
  return absl::OkStatus();
}

absl::Status Engine::Handle(const Pause& pause) {
  for (Sequence* output : scheduler_.Outputs(pause.key)) output->paused = true;
  return absl::OkStatus();
}

absl::Status Engine::Handle(const Resume& resume) {
  for (Sequence* output : scheduler_.Outputs(resume.key)) output->paused = false;
  return absl::OkStatus();
}

absl::Status Engine::Handle(const Shutdown&) {
  shut_down_ = true;
  return absl::OkStatus();
}

}  // namespace shardline
