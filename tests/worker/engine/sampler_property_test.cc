// Thousands of random rows against the rules written down plainly: doubles, full sorts, one list.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>

#include "tests/worker/engine/submits.h"
#include "worker/engine/philox.h"
#include "worker/engine/sampler.h"

namespace shardline {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

struct Item {
  uint32_t id;
  double logit, p;
};

void Renormalise(std::vector<Item>& items) {
  double sum = 0;
  for (const Item& i : items) sum += i.p;
  for (Item& i : items) i.p /= sum;
}

// Keeps the first items that together reach `mass`.
void KeepPrefix(std::vector<Item>& items, double mass) {
  double sum = 0;
  size_t keep = 0;
  while (keep < items.size() && sum < mass) sum += items[keep++].p;
  items.resize(std::max<size_t>(keep, 1));
}

bool Likelier(const Item& a, const Item& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

std::vector<float> Adjusted(const Submit& submit, const std::vector<uint32_t>& output,
                            std::vector<float> logits) {
  const FlatSampling& s = submit.header.sampling;
  for (const LogitBias& b : submit.logit_bias) logits[b.id] += b.bias;
  std::vector<uint32_t> history = submit.prompt;
  history.insert(history.end(), output.begin(), output.end());
  const size_t n = s.repeat_last_n < 0
                       ? history.size()
                       : std::min<size_t>(history.size(), static_cast<size_t>(s.repeat_last_n));
  for (const uint32_t id : std::set<uint32_t>(history.end() - n, history.end())) {
    logits[id] =
        logits[id] > 0 ? logits[id] / s.repetition_penalty : logits[id] * s.repetition_penalty;
  }
  for (const uint32_t id : std::set<uint32_t>(output.begin(), output.end())) {
    logits[id] -=
        s.frequency_penalty * static_cast<float>(std::count(output.begin(), output.end(), id));
    logits[id] -= s.presence_penalty;
  }
  return logits;
}

uint32_t Reference(const Submit& submit, const std::vector<uint32_t>& output,
                   const std::vector<float>& raw) {
  const FlatSampling& s = submit.header.sampling;
  const std::vector<float> logits = Adjusted(submit, output, raw);
  std::vector<Item> items;
  for (uint32_t id = 0; id < logits.size(); ++id) {
    if (logits[id] > -kInf) items.push_back({id, logits[id], 0});
  }
  std::sort(items.begin(), items.end(), Likelier);
  if (s.temperature == 0) return items[0].id;
  const double max = items[0].logit;
  for (Item& i : items) i.p = std::exp((i.logit - max) / s.temperature);
  if (s.top_k > 0 && s.top_k < items.size()) items.resize(s.top_k);
  Renormalise(items);
  if (s.typical_p < 1) {
    double entropy = 0;
    for (const Item& i : items) entropy -= i.p > 0 ? i.p * std::log(i.p) : 0;
    const auto surprise = [&](const Item& i) { return std::abs(-std::log(i.p) - entropy); };
    std::sort(items.begin(), items.end(), [&](const Item& a, const Item& b) {
      const double x = surprise(a), y = surprise(b);
      return x != y ? x < y : a.id < b.id;
    });
    KeepPrefix(items, s.typical_p);
    std::sort(items.begin(), items.end(), Likelier);
    Renormalise(items);
  }
  if (s.top_p < 1) {
    KeepPrefix(items, s.top_p);
    Renormalise(items);
  }
  std::erase_if(items, [limit = s.min_p * items[0].p](const Item& i) { return i.p < limit; });
  Renormalise(items);
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.id < b.id; });
  const double u = UniformForToken(s.seed, 0, static_cast<uint32_t>(output.size()));
  double sum = 0;
  for (const Item& i : items) {
    sum += i.p;
    if (sum > u) return i.id;
  }
  return items.back().id;
}

class RandomRequests {
 public:
  explicit RandomRequests(uint32_t seed) : rng_(seed) {}

  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(rng_() % n); }
  float Uniform(float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(rng_);
  }

  std::vector<float> Row(size_t n) {
    const float spread = Uniform(0.1f, 8);
    std::normal_distribution<float> normal(0, spread);
    const bool ties = Below(3) == 0;
    std::vector<float> row(n);
    for (float& x : row) {
      x = normal(rng_);
      if (ties) x = std::round(x);
      if (Below(100) == 0) x = -std::numeric_limits<float>::infinity();
    }
    row[Below(n)] = 1;
    return row;
  }

  Submit Request(size_t vocabulary) {
    Submit submit = PlainSubmit(1, {}, 1000);
    FlatSampling& s = submit.header.sampling;
    s.seed = rng_();
    if (Below(2) == 0) s.temperature = Below(8) == 0 ? 0 : Uniform(0.2f, 3);
    if (Below(2) == 0) s.top_k = 1 + Below(Below(2) == 0 ? 20 : vocabulary + 3);
    if (Below(3) == 0) s.typical_p = Uniform(0.05f, 0.999f);
    if (Below(2) == 0) s.top_p = Uniform(0.05f, 0.9999f);
    if (Below(3) == 0) s.min_p = Uniform(0, 0.5f);
    if (Below(2) == 0) s.repetition_penalty = Uniform(0.5f, 2);
    if (Below(3) == 0) s.frequency_penalty = Uniform(-1, 1);
    if (Below(3) == 0) s.presence_penalty = Uniform(-1, 1);
    s.repeat_last_n = static_cast<int32_t>(Below(20)) - 1;
    for (uint32_t n = 1 + Below(12); n > 0; --n) submit.prompt.push_back(Below(vocabulary));
    for (uint32_t n = Below(4); n > 0; --n) {
      submit.logit_bias.push_back({Below(vocabulary), Uniform(-5, 5)});
    }
    return submit;
  }

 private:
  std::mt19937 rng_;
};

void Compare(RandomRequests& random, size_t vocabulary, int requests, int steps) {
  SampleScratch scratch;
  for (int r = 0; r < requests; ++r) {
    const Submit submit = random.Request(vocabulary);
    auto sampler = Sampler::Create(submit, 0, vocabulary, {});
    ASSERT_TRUE(sampler.ok()) << sampler.status();
    std::vector<uint32_t> output;
    for (int i = 0; i < steps; ++i) {
      std::vector<float> row = random.Row(vocabulary);
      const uint32_t expected = Reference(submit, output, row);
      const Sample sample = sampler->Next(row, scratch);
      ASSERT_FALSE(sample.non_finite);
      const FlatSampling& s = submit.header.sampling;
      ASSERT_EQ(sample.token.id, expected)
          << "request " << r << " token " << i << " T " << s.temperature << " k " << s.top_k
          << " typical " << s.typical_p << " p " << s.top_p << " min " << s.min_p;
      sampler->Push(expected);
      output.push_back(expected);
    }
  }
}

TEST(SamplerProperty, SmallRows) {
  RandomRequests random(1);
  Compare(random, 37, 1500, 12);
}

TEST(SamplerProperty, MiddlingRows) {
  RandomRequests random(2);
  Compare(random, 1111, 250, 8);
}

TEST(SamplerProperty, WideRows) {
  RandomRequests random(3);
  Compare(random, 49152, 25, 2);
}

}  // namespace
}  // namespace shardline
