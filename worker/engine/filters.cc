#include "worker/engine/filters.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace shardline {
namespace {

// How many of the likeliest tokens top_p tries before it looks at the whole row.
constexpr size_t kNucleusTry = 1024;

bool KeyBefore(const Survivor& a, const Survivor& b) {
  return a.key != b.key ? a.key < b.key : a.id < b.id;
}

double Mass(std::span<const Survivor> survivors) {
  double mass = 0;
  for (const Survivor& s : survivors) mass += s.weight;
  return mass;
}

// The tokens up to `last` in the order of RanksBefore, by id.
void Collect(std::span<const float> logits, float max, double scale, RankedToken last,
             std::vector<Survivor>& out) {
  out.clear();
  const RowMath& math = BestRowMath();
  const float below = std::nextafter(last.logit, -std::numeric_limits<float>::infinity());
  for (size_t i = math.find_above(logits.data(), logits.size(), 0, below); i < logits.size();
       i = math.find_above(logits.data(), logits.size(), i + 64, below)) {
    const size_t end = std::min(i + 64, logits.size());
    for (size_t j = i; j < end; ++j) {
      const RankedToken token{logits[j], static_cast<uint32_t>(j)};
      if (!(token.logit > below) || RanksBefore(last, token)) continue;
      const double x = (static_cast<double>(token.logit) - max) * scale;
      out.push_back({RowExp(x), -static_cast<double>(token.logit), token.logit, token.id});
    }
  }
}

double CollectAll(std::span<const float> logits, float max, double scale, FilterScratch& scratch) {
  scratch.weights.resize((logits.size() + 7) / 8 * 8);
  scratch.sums.resize((logits.size() + kWeightBlock - 1) / kWeightBlock);
  const double total = BestRowMath().weigh(logits.data(), logits.size(), max, scale, 0,
                                           scratch.weights.data(), scratch.sums.data());
  scratch.survivors.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (scratch.weights[i] == 0) continue;  // never drawn, and no mass to the filters
    scratch.survivors.push_back(
        {scratch.weights[i], -static_cast<double>(logits[i]), logits[i], static_cast<uint32_t>(i)});
  }
  return total;
}

// Keeps the first survivors in key order that together reach `mass`; the one that reaches it stays.
// Halves the range with nth_element instead of sorting it, and leaves the survivors in id order.
void KeepMass(double mass, FilterScratch& scratch) {
  std::vector<Survivor>& order = scratch.order;
  order = scratch.survivors;
  size_t low = 0, high = order.size();
  double before = 0;  // mass of [0, low)
  while (high - low > 64) {
    const size_t middle = low + (high - low) / 2;
    std::nth_element(order.begin() + low, order.begin() + middle, order.begin() + high, KeyBefore);
    const double here = Mass(std::span(order).subspan(low, middle + 1 - low));
    if (before + here >= mass) {
      high = middle + 1;
    } else {
      before += here;
      low = middle + 1;
    }
  }
  std::sort(order.begin() + low, order.begin() + high, KeyBefore);
  size_t last = low;
  for (; last + 1 < high; ++last) {
    before += order[last].weight;
    if (before >= mass) break;
  }
  if (last >= order.size()) return;
  const Survivor cut = order[last];
  std::erase_if(scratch.survivors, [&](const Survivor& s) { return KeyBefore(cut, s); });
}

// Locally typical sampling (Meister et al., 2022): the tokens whose surprise is nearest to the
// entropy. With x = log weight, surprise - entropy is mean(x) - x.
void KeepTypical(float max, double scale, double typical_p, FilterScratch& scratch) {
  const double mass = Mass(scratch.survivors);
  double mean = 0;
  for (Survivor& s : scratch.survivors) {
    s.key = (static_cast<double>(s.logit) - max) * scale;
    if (s.weight > 0) mean += s.weight * s.key;
  }
  mean /= mass;
  for (Survivor& s : scratch.survivors) s.key = std::abs(mean - s.key);
  KeepMass(typical_p * mass, scratch);
  for (Survivor& s : scratch.survivors) s.key = -static_cast<double>(s.logit);
}

void KeepMinP(double min_p, std::vector<Survivor>& survivors) {
  double largest = 0;
  for (const Survivor& s : survivors) largest = std::max(largest, s.weight);
  std::erase_if(survivors, [&](const Survivor& s) { return s.weight < min_p * largest; });
}

// The first token whose cumulative weight passes `target`. Rounding may leave none: then the last
// with any.
uint32_t Invert(std::span<const Survivor> survivors, double target) {
  uint32_t chosen = survivors.front().id;
  double sum = 0;
  for (const Survivor& s : survivors) {
    if (s.weight == 0) continue;
    chosen = s.id;
    sum += s.weight;
    if (sum > target) break;
  }
  return chosen;
}

// No filter but min_p: weights stay where they are, and the draw looks into one block of them.
uint32_t DrawDense(std::span<const float> logits, float max, double scale, double min_p, double u,
                   FilterScratch& scratch) {
  const size_t blocks = (logits.size() + kWeightBlock - 1) / kWeightBlock;
  scratch.weights.resize((logits.size() + 7) / 8 * 8);
  scratch.sums.resize(blocks);
  const double total = BestRowMath().weigh(logits.data(), logits.size(), max, scale, min_p,
                                           scratch.weights.data(), scratch.sums.data());
  const double target = u * total;
  double sum = 0;
  size_t block = 0;
  for (size_t b = 0; b < blocks; ++b) {
    if (scratch.sums[b] == 0) continue;
    block = b;
    if (sum + scratch.sums[b] > target) break;
    if (b + 1 < blocks) sum += scratch.sums[b];
  }
  uint32_t chosen = 0;
  const size_t end = std::min((block + 1) * kWeightBlock, logits.size());
  for (size_t i = block * kWeightBlock; i < end; ++i) {
    if (scratch.weights[i] == 0) continue;
    chosen = static_cast<uint32_t>(i);
    sum += scratch.weights[i];
    if (sum > target) break;
  }
  return chosen;
}

// Survivors of top_k. Without top_k and typical_p the likeliest tokens are enough if they hold
// top_p. Returns the mass of all survivors, kept or not.
double CollectForFilters(std::span<const float> logits, float max, double scale,
                         const FlatSampling& sampling, FilterScratch& scratch) {
  const bool nucleus_only = sampling.top_k == 0 && sampling.typical_p >= 1;
  const size_t wanted = nucleus_only ? kNucleusTry : sampling.top_k;
  if (wanted > 0 && wanted < logits.size()) {
    SelectBest(logits, wanted, scratch.best);
    const RankedToken last =
        *std::max_element(scratch.best.begin(), scratch.best.end(), RanksBefore);
    Collect(logits, max, scale, last, scratch.survivors);
    if (!nucleus_only) return Mass(scratch.survivors);
    const double total = BestRowMath().sum_exp(logits.data(), logits.size(), max, scale);
    if (Mass(scratch.survivors) >= sampling.top_p * total) return total;
  }
  return CollectAll(logits, max, scale, scratch);
}

}  // namespace

uint32_t DrawToken(std::span<const float> logits, float max, const FlatSampling& sampling, double u,
                   FilterScratch& scratch) {
  const double scale = 1.0 / sampling.temperature;
  const bool top_p = sampling.top_p < 1, typical = sampling.typical_p < 1;
  if (sampling.top_k == 0 && !typical && !top_p) {
    return DrawDense(logits, max, scale, sampling.min_p, u, scratch);
  }
  double mass = CollectForFilters(logits, max, scale, sampling, scratch);
  if (typical) {
    KeepTypical(max, scale, sampling.typical_p, scratch);
    mass = Mass(scratch.survivors);
  }
  if (top_p) KeepMass(sampling.top_p * mass, scratch);
  if (sampling.min_p > 0) KeepMinP(sampling.min_p, scratch.survivors);
  return Invert(scratch.survivors, u * Mass(scratch.survivors));
}

}  // namespace shardline
