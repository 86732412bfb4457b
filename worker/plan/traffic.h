// What ranks exchange, counted: a group whose other ranks are not there, for a rank whose numbers
// nobody looks at.
#pragma once

#include <utility>

#include "worker/parallel/process_group.h"

namespace shardline {

// Of one rank. Bytes are those of the calls' data: what is summed, and what a rank adds to a
// gathering.
struct Traffic {
  int64_t all_reduces = 0, all_reduce_bytes = 0;
  int64_t all_gathers = 0, all_gather_bytes = 0;

  bool operator==(const Traffic&) const = default;
};

class CountingGroup final : public ProcessGroup {
 public:
  CountingGroup(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  absl::Status AllReduce(const View& data) override {
    if (size_ == 1) return absl::OkStatus();
    ++traffic_.all_reduces;
    traffic_.all_reduce_bytes += static_cast<int64_t>(data.bytes());
    return absl::OkStatus();
  }
  absl::Status AllGather(const View& in, const View&) override {
    if (size_ == 1) return absl::OkStatus();
    ++traffic_.all_gathers;
    traffic_.all_gather_bytes += static_cast<int64_t>(in.bytes());
    return absl::OkStatus();
  }
  absl::Status Broadcast(const View&, int) override { return absl::OkStatus(); }
  absl::Status Barrier() override { return absl::OkStatus(); }
  void SetLimit(std::chrono::nanoseconds) override {}
  void Abort(std::string_view) override {}

  // What has been counted since the last call.
  Traffic Take() { return std::exchange(traffic_, {}); }

 private:
  int rank_, size_;
  Traffic traffic_;
};

}  // namespace shardline
