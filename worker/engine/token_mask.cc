#include "worker/engine/token_mask.h"

namespace shardline {

MinNewTokensMask::MinNewTokensMask(uint32_t vocabulary, uint32_t min_new_tokens,
                                   std::span<const uint32_t> eos_ids,
                                   std::span<const uint32_t> stop_ids)
    : missing_(min_new_tokens) {
  if (missing_ == 0) return;
  bits_.assign((vocabulary + 63) / 64, ~uint64_t{0});
  for (const auto ids : {eos_ids, stop_ids}) {
    for (const uint32_t id : ids) {
      if (id < vocabulary) bits_[id / 64] &= ~(uint64_t{1} << (id % 64));
    }
  }
}

void MinNewTokensMask::Push(uint32_t) {
  if (missing_ > 0 && --missing_ == 0) bits_ = {};
}

}  // namespace shardline
