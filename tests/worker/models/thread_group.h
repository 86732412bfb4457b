// Ranks that are threads of one process, for tests of what is cut for several ranks: the same sums
// in the same order as the real groups.
#pragma once

#include <barrier>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/half.h"
#include "worker/parallel/process_group.h"

namespace shardline {

class ThreadRanks {
 public:
  explicit ThreadRanks(int size) : size_(size), places_(size), barrier_(size) {}

  std::unique_ptr<ProcessGroup> Rank(int rank) { return std::make_unique<Group>(*this, rank); }
  int64_t reductions() const { return reductions_; }

 private:
  class Group final : public ProcessGroup {
   public:
    Group(ThreadRanks& ranks, int rank) : ranks_(ranks), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return ranks_.size_; }
    absl::Status AllReduce(const View& data) override {
      ranks_.Enter(rank_, data);
      if (rank_ == 0) {
        ++ranks_.reductions_;
        ranks_.sum_.resize(data.elements());
        for (int64_t i = 0; i < data.elements(); ++i) {
          float sum = 0;
          for (const View& place : ranks_.places_) sum += Get(place, i);
          ranks_.sum_[i] = sum;
        }
      }
      ranks_.barrier_.arrive_and_wait();
      for (int64_t i = 0; i < data.elements(); ++i) Put(data, i, ranks_.sum_[i]);
      ranks_.barrier_.arrive_and_wait();
      return absl::OkStatus();
    }
    absl::Status AllGather(const View& in, const View& out) override {
      ranks_.Enter(rank_, in);
      auto* to = static_cast<std::byte*>(out.data);
      for (const View& place : ranks_.places_) {
        std::memcpy(to, place.data, place.bytes());
        to += place.bytes();
      }
      ranks_.barrier_.arrive_and_wait();
      return absl::OkStatus();
    }
    absl::Status Broadcast(const View& data, int root) override {
      ranks_.Enter(rank_, data);
      if (rank_ != root) std::memcpy(data.data, ranks_.places_[root].data, data.bytes());
      ranks_.barrier_.arrive_and_wait();
      return absl::OkStatus();
    }
    absl::Status Barrier() override {
      ranks_.barrier_.arrive_and_wait();
      return absl::OkStatus();
    }
    void SetLimit(std::chrono::nanoseconds) override {}
    void Abort(std::string_view) override {}

   private:
    static float Get(const View& view, int64_t i) {
      if (view.type == DType::kF32) return view.as<float>()[i];
      const uint16_t bits = view.as<uint16_t>()[i];
      return view.type == DType::kBF16 ? WidenBf16(bits) : WidenF16(bits);
    }
    static void Put(const View& view, int64_t i, float x) {
      if (view.type == DType::kF32) {
        view.as<float>()[i] = x;
      } else {
        view.as<uint16_t>()[i] = view.type == DType::kBF16 ? RoundToBf16(x) : RoundToF16(x);
      }
    }
    ThreadRanks& ranks_;
    int rank_;
  };

  void Enter(int rank, const View& view) {
    places_[rank] = view;
    barrier_.arrive_and_wait();
  }

  int size_;
  std::vector<View> places_;
  std::vector<float> sum_;
  int64_t reductions_ = 0;
  std::barrier<> barrier_;
};

}  // namespace shardline
