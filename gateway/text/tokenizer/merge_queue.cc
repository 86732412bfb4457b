#include "gateway/text/tokenizer/merge_queue.h"

#include <algorithm>
#include <functional>

namespace shardline {
namespace {

constexpr size_t kKeptLines = 4096;  // more are given back between words

}  // namespace

void MergeQueue::Clear() {
  if (lines_.size() > kKeptLines) lines_.resize(kKeptLines);
  used_ = 0;
  index_.clear();
  waiting_.clear();
}

MergeQueue::Line& MergeQueue::LineOf(uint32_t rank) {
  const auto [found, added] = index_.try_emplace(rank, static_cast<uint32_t>(used_));
  if (!added) return lines_[found->second];
  if (used_ == lines_.size()) lines_.emplace_back();
  Line& line = lines_[used_++];
  line.rank = rank;
  line.first = 0;
  line.in_order.clear();
  line.stragglers.clear();
  line.waiting = false;
  return line;
}

void MergeQueue::Push(Candidate candidate) {
  Line& line = LineOf(candidate.rank);
  if (line.empty()) {
    line.first = 0;
    line.in_order.clear();
  }
  if (line.in_order.empty() || line.in_order.back() <= candidate.position) {
    line.in_order.push_back(candidate.position);
  } else {
    line.stragglers.push_back(candidate.position);
    std::push_heap(line.stragglers.begin(), line.stragglers.end(), std::greater<>());
  }
  if (line.waiting) return;
  line.waiting = true;
  waiting_.emplace_back(line.rank, static_cast<uint32_t>(&line - lines_.data()));
  std::push_heap(waiting_.begin(), waiting_.end(), std::greater<>());
}

int32_t MergeQueue::Take(Line& line) {
  const bool straggler =
      !line.stragglers.empty() &&
      (line.first == line.in_order.size() || line.stragglers.front() < line.in_order[line.first]);
  if (!straggler) return line.in_order[line.first++];
  std::pop_heap(line.stragglers.begin(), line.stragglers.end(), std::greater<>());
  const int32_t position = line.stragglers.back();
  line.stragglers.pop_back();
  return position;
}

bool MergeQueue::Pop(Candidate* candidate) {
  while (!waiting_.empty()) {
    Line& line = lines_[waiting_.front().second];
    if (!line.empty()) {
      *candidate = {line.rank, Take(line)};
      return true;
    }
    line.waiting = false;
    std::pop_heap(waiting_.begin(), waiting_.end(), std::greater<>());
    waiting_.pop_back();
  }
  return false;
}

}  // namespace shardline
