// One filled message of every kind, and a visitor over their types.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "shared/ipc/message.h"

namespace shardline {

template <typename T>
T Sample();
template <>
inline Configure Sample() {
  return {{2, 128001}};
}
template <>
inline Submit Sample() {
  Submit m;
  m.header.key = 0x1122334455667788;
  m.header.deadline_ns = 99;
  m.header.priority = -3;
  m.header.outputs = 2;
  m.header.max_new_tokens = 17;
  m.header.flags = kIgnoreEos | kWantLogprobs;
  m.header.sampling = {.temperature = 0.5f,
                       .top_p = 0.9f,
                       .repetition_penalty = 1.3f,
                       .top_k = 40,
                       .repeat_last_n = -1,
                       .seed = ~uint64_t{0}};
  m.prompt = {1, 2, 3, 0xffffffff};
  m.emitted = {9};
  m.stop_token_ids = {7, 8};
  m.logit_bias = {{5, -100.0f}};
  return m;
}
template <>
inline Cancel Sample() {
  return {42, kAllOutputs, 0};
}
template <>
inline Pause Sample() {
  return {43};
}
template <>
inline Resume Sample() {
  return {44};
}
template <>
inline Shutdown Sample() {
  return {0};
}
template <>
inline Progress Sample() {
  return {0.25, "reading weights"};
}
template <>
inline Ready Sample() {
  Ready m;
  m.header.epoch = 3;
  m.header.vocabulary_size = 49152;
  m.header.load_seconds = 1.5;
  m.family = "llama";
  m.dtype = "f32";
  m.instruction_set = "avx2";
  m.capabilities = "generate, logprobs";
  return m;
}
template <>
inline Tokens Sample() {
  Tokens m;
  m.header = {42, 1, 10, 2, 0};
  m.tokens = {{5, -0.5f, 1, 0}, {6, NAN, 0, 0}};
  m.top = {{5, -0.5f}, {1, -2.0f}, {6, -0.1f}, {2, -3.0f}};
  return m;
}
template <>
inline Prompt Sample() {
  Prompt m;
  m.header = {42, 0, 1};
  m.tokens = {{5, NAN, 0, 0}, {6, -1.0f, 2, 0}};
  m.top = {{0, NAN}, {1, -0.2f}};
  return m;
}
template <>
inline Finished Sample() {
  return {42, 1, FlatFinish::kStopToken, 7, 33, 0, 0};
}
template <>
inline Failed Sample() {
  return {42, FlatError::kNonFiniteLogits, "logits of token 3 are not finite"};
}
template <>
inline StepReport Sample() {
  return {.epoch = 3, .step = 77, .step_ns = 1000, .running_sequences = 4, .submitted = 12};
}
template <>
inline StepPlan Sample() {
  StepPlan m;
  m.step = 9;
  m.rows = {{3, 10, 2, 0, 0, 1, 11, 0, 0, RowForm::kPrompt, {}},
            {1, 40, 1, 2, 1, 1, 8, 0, 0, RowForm::kDecode, {}}};
  m.tokens = {17, 4, 49151};
  m.wanted = {1, 2};
  m.blocks = {{3, 0, 0, 5, -1}, {1, 1, 2, 6, 4}};
  return m;
}

// visit.template operator()<T>() for every message type T.
template <typename Visit>
void ForEachMessage(Visit visit) {
  visit.template operator()<Configure>();
  visit.template operator()<Submit>();
  visit.template operator()<Cancel>();
  visit.template operator()<Pause>();
  visit.template operator()<Resume>();
  visit.template operator()<Shutdown>();
  visit.template operator()<Progress>();
  visit.template operator()<Ready>();
  visit.template operator()<Tokens>();
  visit.template operator()<Prompt>();
  visit.template operator()<Finished>();
  visit.template operator()<Failed>();
  visit.template operator()<StepReport>();
  visit.template operator()<StepPlan>();
}

// Decodes as every kind; what decodes must encode to the same bytes. False if it does not.
inline bool DecodesFaithfully(std::span<const std::byte> payload) {
  bool faithful = true;
  ForEachMessage([&]<typename T>() {
    const absl::StatusOr<T> message = Decode<T>(payload);
    if (!message.ok()) return;
    std::vector<std::byte> again;
    Encode(*message, again);
    faithful &= std::equal(again.begin(), again.end(), payload.begin(), payload.end());
  });
  return faithful;
}

}  // namespace shardline
