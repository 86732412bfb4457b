// What a worker says of tokens, as the contract's events say it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "shardline/v1/inference.pb.h"
#include "shared/ipc/message.h"

namespace shardline {

// The exact bytes of a token id; empty where the model has no tokenizer.
using RawBytes = std::function<std::string_view(uint32_t id)>;

// `top`: the token's candidates. A NaN logprob and rank 0 stay unset.
v1::TokenInfo ToTokenInfo(const TokenRecord& token, std::span<const CandidateRecord> top,
                          const RawBytes& raw);

// Of ids alone, without logprobs.
v1::TokenInfo ToTokenInfo(uint32_t id, const RawBytes& raw);

v1::FinishReason ToFinishReason(FlatFinish reason);
v1::ErrorCode ToErrorCode(FlatError code);

}  // namespace shardline
