#include "worker/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "worker/engine/logprobs.h"
#include "worker/engine/philox.h"

namespace shardline {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

absl::Status CheckRange(std::string_view name, float value, float low, float high) {
  if (value >= low && value <= high) return absl::OkStatus();  // false for NaN
  return InvalidArgument(name, " ", value, " is outside ", low, "..", high);
}

// The gateway has checked all this; a worker believes nobody.
absl::Status Check(const Submit& submit, uint32_t vocabulary) {
  const FlatSampling& s = submit.header.sampling;
  SL_RETURN_IF_ERROR(CheckRange("temperature", s.temperature, 0, 100));
  SL_RETURN_IF_ERROR(CheckRange("top_p", s.top_p, 0, 1));
  SL_RETURN_IF_ERROR(CheckRange("typical_p", s.typical_p, 0, 1));
  SL_RETURN_IF_ERROR(CheckRange("min_p", s.min_p, 0, 1));
  SL_RETURN_IF_ERROR(CheckRange("repetition_penalty", s.repetition_penalty,
                                std::numeric_limits<float>::denorm_min(), 10));
  SL_RETURN_IF_ERROR(CheckRange("frequency_penalty", s.frequency_penalty, -2, 2));
  SL_RETURN_IF_ERROR(CheckRange("presence_penalty", s.presence_penalty, -2, 2));
  if (s.repeat_last_n < -1)
    return InvalidArgument("repeat_last_n ", s.repeat_last_n, " is below -1");
  for (const auto* ids : {&submit.prompt, &submit.emitted}) {
    for (const uint32_t id : *ids) {
      if (id >= vocabulary) return InvalidArgument("token id ", id, " is not below ", vocabulary);
    }
  }
  for (const LogitBias& bias : submit.logit_bias) {
    if (bias.id >= vocabulary || !std::isfinite(bias.bias)) {
      return InvalidArgument("logit_bias[", bias.id, "] = ", bias.bias, " is out of range");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Sampler> Sampler::Create(const Submit& submit, uint32_t output_index,
                                        uint32_t vocabulary, std::span<const uint32_t> eos_ids) {
  SL_RETURN_IF_ERROR(Check(submit, vocabulary));
  Sampler sampler(submit, output_index);
  if (submit.header.min_new_tokens > 0) {
    sampler.mask_ = std::make_unique<MinNewTokensMask>(vocabulary, submit.header.min_new_tokens,
                                                       eos_ids, submit.stop_token_ids);
  }
  for (const uint32_t token : submit.emitted) sampler.Push(token);
  return sampler;
}

Sampler::Sampler(const Submit& submit, uint32_t output_index)
    : sampling_(submit.header.sampling),
      output_index_(output_index),
      want_logprobs_((submit.header.flags & kWantLogprobs) != 0),
      top_(submit.header.top_logprobs),
      bias_(submit.logit_bias),
      penalties_(submit.header.sampling, submit.prompt) {}

void Sampler::Push(uint32_t token) {
  ++emitted_;
  penalties_.Push(token);
  if (mask_ != nullptr) mask_->Push(token);
}

void Sampler::Adjust(std::span<float> logits, std::vector<ChangedLogit>& changed) const {
  for (const LogitBias& bias : bias_) {
    changed.push_back({bias.id, logits[bias.id]});
    logits[bias.id] += bias.bias;
  }
  penalties_.Apply(logits, changed);
  if (mask_ == nullptr) return;
  const std::span<const uint64_t> allowed = mask_->allowed();
  for (size_t word = 0; word < allowed.size(); ++word) {
    if (allowed[word] == ~uint64_t{0}) continue;
    const size_t end = std::min((word + 1) * 64, logits.size());
    for (size_t id = word * 64; id < end; ++id) {
      if ((allowed[word] >> (id % 64) & 1) != 0) continue;
      changed.push_back({static_cast<uint32_t>(id), logits[id]});
      logits[id] = -kInfinity;
    }
  }
}

Sample Sampler::Next(std::span<float> logits, SampleScratch& scratch) const {
  Sample sample;
  const RowMath& math = BestRowMath();
  const RowScan raw = math.scan(logits.data(), logits.size());
  sample.non_finite = raw.non_finite || raw.max == -kInfinity;
  if (sample.non_finite) return sample;

  scratch.changed.clear();
  Adjust(logits, scratch.changed);
  const float max = scratch.changed.empty() ? raw.max : math.scan(logits.data(), logits.size()).max;
  uint32_t id = 0;
  sample.non_finite = max == -kInfinity;  // every token that was possible is masked
  if (sample.non_finite) {
  } else if (sampling_.temperature == 0) {
    id = static_cast<uint32_t>(std::find(logits.begin(), logits.end(), max) - logits.begin());
  } else {
    const double u = UniformForToken(sampling_.seed, output_index_, emitted_);
    id = DrawToken(logits, max, sampling_, u, scratch.filter);
  }
  // Newest first: a token changed twice ends with its first value.
  for (size_t i = scratch.changed.size(); i-- > 0;) {
    logits[scratch.changed[i].id] = scratch.changed[i].raw;
  }
  if (sample.non_finite) return sample;

  if (want_logprobs_) {
    sample.token = RawLogprobs(logits, raw.max, id, top_, sample.top, scratch.filter.best);
  } else {
    sample.token = {id, std::numeric_limits<float>::quiet_NaN(), 0, 0};
  }
  return sample;
}

}  // namespace shardline
