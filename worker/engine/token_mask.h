// Which tokens a sequence may emit next. A mask's state is a function of the emitted tokens alone,
// so a replayed sequence arrives at the same mask.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace shardline {

class TokenMask {
 public:
  virtual ~TokenMask() = default;
  virtual void Push(uint32_t emitted) = 0;
  // Bit id % 64 of word id / 64 is set for each token allowed now; empty: all are.
  virtual std::span<const uint64_t> allowed() const = 0;
};

// min_new_tokens: the ids that would end an output are not allowed before `min_new_tokens` are out.
class MinNewTokensMask final : public TokenMask {
 public:
  MinNewTokensMask(uint32_t vocabulary, uint32_t min_new_tokens, std::span<const uint32_t> eos_ids,
                   std::span<const uint32_t> stop_ids);
  void Push(uint32_t emitted) override;
  std::span<const uint64_t> allowed() const override { return bits_; }

 private:
  uint32_t missing_;
  std::vector<uint64_t> bits_;
};

}  // namespace shardline
