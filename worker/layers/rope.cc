// Frequencies of every scaling, and the cosines and sines of a step.
#include "worker/layers/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace shardline {
namespace {

// base^(2i / dim), [dim / 2]
std::vector<float> Powers(float base, int64_t dim) {
  std::vector<float> powers(dim / 2);
  for (int64_t i = 0; i < dim / 2; ++i) {
    powers[i] = std::pow(base, static_cast<float>(2 * i) / static_cast<float>(dim));
  }
  return powers;
}

std::vector<float> Inverse(std::vector<float> powers) {
  for (float& x : powers) x = 1.0f / x;
  return powers;
}

std::vector<float> Compute(const Rope& rope, const NoScaling&) {
  return Inverse(Powers(static_cast<float>(rope.theta), rope.rot_dim));
}

std::vector<float> Compute(const Rope& rope, const LinearScaling& scaling) {
  std::vector<float> frequencies = Compute(rope, NoScaling{});
  for (float& x : frequencies) x /= static_cast<float>(scaling.factor);
  return frequencies;
}

std::vector<float> Compute(const Rope& rope, const DynamicScaling&) {
  return Compute(rope, NoScaling{});
}

// The dimension whose wave turns `rotations` times within `positions`.
double CorrectionDim(double rotations, double dim, double base, double positions) {
  return dim * std::log(positions / (rotations * 2 * std::numbers::pi)) / (2 * std::log(base));
}

std::vector<float> Compute(const Rope& rope, const YarnScaling& scaling) {
  const auto dim = static_cast<double>(rope.rot_dim);
  double low = CorrectionDim(scaling.beta_fast, dim, rope.theta, scaling.original_positions);
  double high = CorrectionDim(scaling.beta_slow, dim, rope.theta, scaling.original_positions);
  if (scaling.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;

  std::vector<float> frequencies = Powers(static_cast<float>(rope.theta), rope.rot_dim);
  for (int64_t i = 0; i < rope.rot_dim / 2; ++i) {
    const float power = frequencies[i];
    const float ramp =
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float kept = 1.0f - std::clamp(ramp, 0.0f, 1.0f);
    const float interpolated = 1.0f / (static_cast<float>(scaling.factor) * power);
    frequencies[i] = interpolated * (1.0f - kept) + 1.0f / power * kept;
  }
  return frequencies;
}

std::vector<float> WithFactors(const Rope& rope, const std::vector<float>& factors) {
  std::vector<float> powers = Powers(static_cast<float>(rope.theta), rope.rot_dim);
  for (size_t i = 0; i < powers.size(); ++i) powers[i] *= factors[i];
  return Inverse(std::move(powers));
}

std::vector<float> Compute(const Rope& rope, const LongropeScaling& scaling) {
  return WithFactors(rope, scaling.short_factors);
}

std::vector<float> Compute(const Rope& rope, const Llama3Scaling& scaling) {
  const auto factor = static_cast<float>(scaling.factor);
  const auto low = static_cast<float>(scaling.low_freq_factor);
  const auto positions = static_cast<float>(scaling.original_positions);
  const auto longest = static_cast<float>(scaling.original_positions / scaling.low_freq_factor);
  const auto shortest = static_cast<float>(scaling.original_positions / scaling.high_freq_factor);
  const auto width = static_cast<float>(scaling.high_freq_factor - scaling.low_freq_factor);
  std::vector<float> frequencies = Compute(rope, NoScaling{});
  for (float& x : frequencies) {
    const float wavelength = static_cast<float>(2 * std::numbers::pi) / x;
    if (wavelength > longest) {
      x /= factor;
    } else if (wavelength >= shortest) {
      const float smooth = (positions / wavelength - low) / width;
      x = (1.0f - smooth) * x / factor + smooth * x;
    }
  }
  return frequencies;
}

}  // namespace

double YarnMagnitude(double scale, double mscale) {
  return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

RopeTable::RopeTable(Rope rope) : rope_(std::move(rope)) {
  const auto divide = [this](std::vector<float>& frequencies) {
    for (size_t i = 0; i < rope_.divisors.size(); ++i) frequencies[i] /= rope_.divisors[i];
  };
  short_ = std::visit([&](const auto& scaling) { return Compute(rope_, scaling); }, rope_.scaling);
  divide(short_);
  if (const auto* yarn = std::get_if<YarnScaling>(&rope_.scaling)) {
    attention_factor_ = static_cast<float>(yarn->attention_factor);
  }
  if (const auto* longrope = std::get_if<LongropeScaling>(&rope_.scaling)) {
    attention_factor_ = static_cast<float>(longrope->attention_factor);
    long_ = WithFactors(rope_, longrope->long_factors);
    divide(long_);
  }
  if (std::holds_alternative<DynamicScaling>(rope_.scaling)) grown_ = short_;
}

std::span<const float> RopeTable::Frequencies(int64_t length) {
  if (const auto* longrope = std::get_if<LongropeScaling>(&rope_.scaling)) {
    return static_cast<double>(length) > longrope->original_positions ? long_ : short_;
  }
  const auto* dynamic = std::get_if<DynamicScaling>(&rope_.scaling);
  if (dynamic == nullptr || length <= dynamic->max_positions) return short_;
  if (length != grown_length_) {
    const auto factor = static_cast<float>(dynamic->factor);
    const auto dim = static_cast<double>(rope_.rot_dim);
    const float growth =
        factor * static_cast<float>(length) / static_cast<float>(dynamic->max_positions) -
        static_cast<float>(dynamic->factor - 1);
    const float base =
        static_cast<float>(rope_.theta) * std::pow(growth, static_cast<float>(dim / (dim - 2)));
    for (int64_t i = 0; i < rope_.rot_dim / 2; ++i) {
      grown_[i] =
          1.0f / std::pow(base, static_cast<float>(2 * i) / static_cast<float>(rope_.rot_dim));
      if (!rope_.divisors.empty()) grown_[i] /= rope_.divisors[i];
    }
    grown_length_ = length;
  }
  return grown_;
}

void RopeTable::FillRow(const PlanRow& row, const View& cos, const View& sin) {
  const int64_t half = rope_.rot_dim / 2;
  for (int32_t i = 0; i < row.token_count; ++i) {
    const int64_t position = int64_t{row.first_position} + i;
    const int64_t length = std::max<int64_t>(row.prompt_tokens, position + 1);
    const std::span<const float> frequencies = Frequencies(length);
    float* cos_row = cos.as<float>() + (row.first_token + i) * cos.stride[0];
    float* sin_row = sin.as<float>() + (row.first_token + i) * sin.stride[0];
    for (int64_t j = 0; j < half; ++j) {
      const float angle = static_cast<float>(position) * frequencies[j];
      cos_row[j] = std::cos(angle) * attention_factor_;
      sin_row[j] = std::sin(angle) * attention_factor_;
    }
  }
}

void RopeTable::Fill(const StepPlan& plan, const View& cos, const View& sin) {
  for (const PlanRow& row : plan.rows) FillRow(row, cos, sin);
}

}  // namespace shardline
