// The pairs of a long word that could be merged, in BPE's order: lowest rank first, leftmost among
// equals. Positions of one rank come mostly in order, so each rank has a line of its own and only
// the ranks are in a heap: a word of one repeated letter, however long, takes linear time.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <vector>

namespace shardline {

class MergeQueue {
 public:
  struct Candidate {
    uint32_t rank;
    int32_t position;
  };
  void Clear();
  void Push(Candidate candidate);
  // False: the queue is empty.
  bool Pop(Candidate* candidate);

 private:
  struct Line {
    uint32_t rank = 0;
    size_t first = 0;                 // of `in_order`, not taken yet
    std::vector<int32_t> in_order;    // ascending
    std::vector<int32_t> stragglers;  // those that came out of order: a heap, lowest on top
    bool waiting = false;             // is the line in `waiting_`?
    bool empty() const { return first == in_order.size() && stragglers.empty(); }
  };
  Line& LineOf(uint32_t rank);
  static int32_t Take(Line& line);

  std::vector<Line> lines_;  // of which used_ are in use; the others keep their memory
  size_t used_ = 0;
  absl::flat_hash_map<uint32_t, uint32_t> index_;       // rank → line
  std::vector<std::pair<uint32_t, uint32_t>> waiting_;  // (rank, line) of lines: a heap
};

}  // namespace shardline
