#include "gateway/routing.h"

#include <algorithm>

namespace shardline {
namespace {

// splitmix64's finaliser: every input bit reaches every output bit.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

}  // namespace

std::vector<uint64_t> PrefixHashes(std::span<const uint32_t> prompt, uint64_t salt_hash) {
  const size_t blocks = std::min(prompt.size() / kPrefixBlockTokens, kMaxPrefixBlocks);
  std::vector<uint64_t> hashes(blocks);
  uint64_t hash = Mix(salt_hash);
  for (size_t i = 0; i < blocks * kPrefixBlockTokens; ++i) {
    hash = Mix(hash ^ prompt[i]);
    if ((i + 1) % kPrefixBlockTokens == 0) hashes[i / kPrefixBlockTokens] = hash;
  }
  return hashes;
}

// From the last block to the first: a beginning is of use without its end, an end is not.
void RecentPrefixes::Add(std::span<const uint64_t> hashes) {
  for (size_t i = hashes.size(); i-- > 0;) {
    if (const auto known = places_.find(hashes[i]); known != places_.end()) {
      order_.splice(order_.begin(), order_, known->second);
    } else {
      order_.push_front(hashes[i]);
      places_.emplace(hashes[i], order_.begin());
    }
  }
  while (places_.size() > max_blocks_) {
    places_.erase(order_.back());
    order_.pop_back();
  }
}

size_t RecentPrefixes::Match(std::span<const uint64_t> hashes) const {
  size_t blocks = 0;
  while (blocks < hashes.size() && places_.contains(hashes[blocks])) ++blocks;
  return blocks;
}

void RecentPrefixes::Clear() {
  order_.clear();
  places_.clear();
}

Routing::Routing(Options options)
    : load_margin_(options.load_margin),
      recent_(options.groups, RecentPrefixes(options.max_blocks)) {}

std::optional<size_t> Routing::Choose(std::span<const Candidate> candidates,
                                      std::span<const uint64_t> hashes) const {
  if (candidates.empty()) return std::nullopt;
  const auto less_load = [](const Candidate& a, const Candidate& b) { return a.load < b.load; };
  const double least = std::min_element(candidates.begin(), candidates.end(), less_load)->load;
  const Candidate* best = nullptr;
  size_t best_blocks = 0;
  for (const Candidate& candidate : candidates) {
    if (candidate.load > least + load_margin_) continue;
    const size_t blocks = recent_[candidate.group].Match(hashes);
    if (best == nullptr || blocks > best_blocks ||
        (blocks == best_blocks && candidate.load < best->load)) {
      best = &candidate;
      best_blocks = blocks;
    }
  }
  return best->group;
}

void Routing::Given(size_t group, std::span<const uint64_t> hashes) { recent_[group].Add(hashes); }

void Routing::Lost(size_t group) { recent_[group].Clear(); }

}  // namespace shardline
