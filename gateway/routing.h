// Which group a request goes to: the one that has lately been given the longest part of the same
// prompt, for what its cache may still hold, unless it is clearly busier than another; else the
// least busy one. Only what was sent is known here, not what a worker kept. Not thread-safe; the
// router's lock guards it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace shardline {

// Hashes of a prompt's whole blocks, each over all tokens up to its end: equal hashes mean equal
// beginnings. Of a long prompt the first kMaxPrefixBlocks alone; prompts of different salts share
// nothing.
inline constexpr size_t kPrefixBlockTokens = 32;
inline constexpr size_t kMaxPrefixBlocks = 512;
std::vector<uint64_t> PrefixHashes(std::span<const uint32_t> prompt, uint64_t salt_hash);

// The beginnings that one group has lately been given: a bounded number, the longest unused are
// forgotten first.
class RecentPrefixes {
 public:
  explicit RecentPrefixes(size_t max_blocks) : max_blocks_(max_blocks) {}

  void Add(std::span<const uint64_t> hashes);
  // How many of the prompt's first blocks are among them.
  size_t Match(std::span<const uint64_t> hashes) const;
  void Clear();
  size_t size() const { return places_.size(); }

 private:
  const size_t max_blocks_;
  std::list<uint64_t> order_;  // latest first
  std::unordered_map<uint64_t, std::list<uint64_t>::iterator> places_;
};

class Routing {
 public:
  struct Options {
    size_t groups = 1;
    // What a shared beginning may cost: its group's load may exceed the least by so much.
    double load_margin = 1.0 / 16;
    size_t max_blocks = 16384;  // remembered of each group
  };
  explicit Routing(Options options);

  struct Candidate {
    size_t group;  // has room for the request
    double load;   // 0 idle, 1 full
  };
  // nullopt: there is no candidate.
  std::optional<size_t> Choose(std::span<const Candidate> candidates,
                               std::span<const uint64_t> hashes) const;
  // The group is given such a prompt.
  void Given(size_t group, std::span<const uint64_t> hashes);
  // The group's cache is gone with its workers.
  void Lost(size_t group);

 private:
  const double load_margin_;
  std::vector<RecentPrefixes> recent_;  // [groups]
};

}  // namespace shardline
