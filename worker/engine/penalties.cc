#include "worker/engine/penalties.h"

#include <algorithm>
#include <cfloat>

namespace shardline {

Penalties::Penalties(const FlatSampling& sampling, std::span<const uint32_t> prompt)
    : repetition_(sampling.repetition_penalty),
      frequency_(sampling.frequency_penalty),
      presence_(sampling.presence_penalty),
      window_size_(sampling.repetition_penalty == 1.0f ? 0 : sampling.repeat_last_n) {
  if (window_size_ == 0) return;
  if (window_size_ > 0 && prompt.size() > static_cast<size_t>(window_size_)) {
    prompt = prompt.last(window_size_);
  }
  for (const uint32_t token : prompt) PushWindow(token);
}

void Penalties::PushWindow(uint32_t token) {
  ++counts_[token].window;
  if (window_size_ < 0) return;
  window_.push_back(token);
  if (window_.size() <= static_cast<size_t>(window_size_)) return;
  const auto oldest = counts_.find(window_.front());
  window_.pop_front();
  if (--oldest->second.window == 0 && oldest->second.output == 0) counts_.erase(oldest);
}

void Penalties::Push(uint32_t emitted) {
  if (frequency_ != 0 || presence_ != 0) ++counts_[emitted].output;
  if (window_size_ != 0) PushWindow(emitted);
}

void Penalties::Apply(std::span<float> logits, std::vector<ChangedLogit>& changed) const {
  for (const auto& [id, count] : counts_) {
    float& logit = logits[id];
    changed.push_back({id, logit});
    if (count.window > 0) logit = logit > 0 ? logit / repetition_ : logit * repetition_;
    if (count.output > 0) {
      logit -= frequency_ * static_cast<float>(count.output);
      logit -= presence_;
    }
    // A finite logit stays finite; -inf stays what it is.
    if (logit > FLT_MAX) logit = FLT_MAX;
    if (logit < -FLT_MAX && changed.back().raw >= -FLT_MAX) logit = -FLT_MAX;
  }
}

}  // namespace shardline
