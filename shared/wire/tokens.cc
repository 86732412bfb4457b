#include "shared/wire/tokens.h"

#include <cmath>

namespace shardline {

v1::TokenInfo ToTokenInfo(uint32_t id, const RawBytes& raw) {
  v1::TokenInfo info;
  info.set_id(id);
  const std::string_view bytes = raw(id);
  info.set_raw(bytes.data(), bytes.size());
  return info;
}

v1::TokenInfo ToTokenInfo(const TokenRecord& token, std::span<const CandidateRecord> top,
                          const RawBytes& raw) {
  v1::TokenInfo info = ToTokenInfo(token.id, raw);
  if (std::isnan(token.logprob)) return info;  // not asked for, or a prompt's first token
  info.set_logprob(token.logprob);
  if (token.rank != 0) info.set_rank(token.rank);
  for (const CandidateRecord& candidate : top) {
    v1::Candidate* to = info.add_top();
    to->set_id(candidate.id);
    const std::string_view bytes = raw(candidate.id);
    to->set_raw(bytes.data(), bytes.size());
    to->set_logprob(candidate.logprob);
  }
  return info;
}

v1::FinishReason ToFinishReason(FlatFinish reason) {
  switch (reason) {
    case FlatFinish::kEos:
      return v1::FINISH_REASON_EOS;
    case FlatFinish::kStopToken:
      return v1::FINISH_REASON_STOP_TOKEN;
    case FlatFinish::kLength:
      return v1::FINISH_REASON_LENGTH;
    case FlatFinish::kCancelled:
      return v1::FINISH_REASON_ABORTED;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

v1::ErrorCode ToErrorCode(FlatError code) {
  switch (code) {
    case FlatError::kNonFiniteLogits:
      return v1::ERROR_CODE_NON_FINITE_LOGITS;
    case FlatError::kDeadline:
      return v1::ERROR_CODE_DEADLINE;
    case FlatError::kOverloaded:
      return v1::ERROR_CODE_OVERLOADED;
    case FlatError::kInternal:
      return v1::ERROR_CODE_INTERNAL;
  }
  return v1::ERROR_CODE_INTERNAL;
}

}  // namespace shardline
