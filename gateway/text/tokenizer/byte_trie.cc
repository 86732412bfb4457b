#include "gateway/text/tokenizer/byte_trie.h"

#include <algorithm>

namespace shardline {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 27;

}  // namespace

absl::StatusOr<ByteTrie> ByteTrie::Build(
    std::vector<std::pair<std::string_view, uint32_t>> entries) {
  size_t bytes = 0;
  ByteTrie trie;
  for (const auto& [text, value] : entries) {
    bytes += text.size();
    trie.longest_ = std::max(trie.longest_, text.size());
  }
  if (bytes > kMaxBytes) return InvalidArgument(bytes, " bytes are more than a vocabulary has");
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  // By node: the entries that begin with its string.
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<Range> ranges = {{0, entries.size(), 0}};
  trie.nodes_.emplace_back();
  trie.labels_.push_back(0);
  for (uint32_t node = 0; node < ranges.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    for (; begin < end && entries[begin].first.size() == depth; ++begin) {
      if (depth > 0) trie.nodes_[node].value = entries[begin].second;
    }
    trie.nodes_[node].first_child = static_cast<uint32_t>(trie.nodes_.size());
    while (begin < end) {
      const char label = entries[begin].first[depth];
      size_t last = begin + 1;
      while (last < end && entries[last].first[depth] == label) ++last;
      ranges.push_back({begin, last, depth + 1});
      trie.nodes_.emplace_back();
      trie.labels_.push_back(static_cast<uint8_t>(label));
      ++trie.nodes_[node].children;
      begin = last;
    }
  }
  trie.root_children_.fill(kNone);
  for (uint32_t child = 1; child <= trie.nodes_[kRoot].children; ++child) {
    trie.root_children_[trie.labels_[child]] = child;
  }
  return trie;
}

uint32_t ByteTrie::Find(std::string_view text) const {
  uint32_t node = kRoot;
  for (const char byte : text) {
    node = Child(node, byte);
    if (node == kNone) return kNone;
  }
  return Value(node);
}

}  // namespace shardline
