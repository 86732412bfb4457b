// A set of byte strings, each with a number, for finding those that begin at a place of a text: the
// tokens of Unigram and RWKV vocabularies.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "shared/base/status.h"

namespace shardline {

class ByteTrie {
 public:
  static constexpr uint32_t kNone = ~uint32_t{0};

  // Empty strings are left out; of equal strings the last one counts. Errors: InvalidArgument (too
  // many bytes for a vocabulary).
  static absl::StatusOr<ByteTrie> Build(std::vector<std::pair<std::string_view, uint32_t>> entries);

  static constexpr uint32_t kRoot = 0;
  // The node behind `node` along `byte`; kNone: there is none.
  uint32_t Child(uint32_t node, char byte) const {
    const auto label = static_cast<unsigned char>(byte);
    if (node == kRoot) return root_children_[label];
    const Node& parent = nodes_[node];
    const uint8_t* labels = labels_.data() + parent.first_child;
    // Few children or many, ascending.
    uint32_t low = 0, high = parent.children;
    while (high - low > 8) {
      const uint32_t middle = (low + high) / 2;
      if (labels[middle] <= label) {
        low = middle;
      } else {
        high = middle;
      }
    }
    for (; low < high; ++low) {
      if (labels[low] == label) return parent.first_child + low;
    }
    return kNone;
  }
  // The number of the string that ends at `node`; kNone: none does.
  uint32_t Value(uint32_t node) const { return nodes_[node].value; }
  // The number of exactly `text`; kNone: it is not in the set.
  uint32_t Find(std::string_view text) const;
  size_t longest() const { return longest_; }  // bytes

 private:
  // Level by level, so the children of a node lie side by side.
  struct Node {
    uint32_t first_child = 0;
    uint32_t value = kNone;
    uint16_t children = 0;
  };
  std::vector<Node> nodes_;
  std::vector<uint8_t> labels_;  // by node: the byte that leads to it
  std::array<uint32_t, 256> root_children_;
  size_t longest_ = 0;
};

}  // namespace shardline
