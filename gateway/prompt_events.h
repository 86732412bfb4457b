// A prompt's tokens as events, each under a megabyte.
#pragma once

#include <cstdint>
#include <span>

#include "gateway/stream.h"
#include "shared/ipc/message.h"
#include "shared/wire/tokens.h"

namespace shardline {

// Ids and bytes alone.
void PushPromptIds(std::span<const uint32_t> prompt, const RawBytes& raw, EventStream& stream);

// What the worker said of a stretch of the prompt, logprobs and candidates too.
void PushPromptTokens(const Prompt& message, const RawBytes& raw, EventStream& stream);

}  // namespace shardline
