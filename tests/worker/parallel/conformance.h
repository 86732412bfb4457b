// What every back end of ProcessGroup promises, as checks that each rank runs on its own group, in
// a thread or in a process. A check returns "" or what is wrong.
#pragma once

#include <atomic>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/half.h"
#include "shared/base/strings.h"
#include "worker/parallel/process_group.h"

namespace shardline::testing {

struct Rig {
  ProcessGroup& group;
  std::atomic<int>* arrivals = nullptr;  // shared by all ranks, zero at the start
  // Sums are those of rank order. Without it they are equal among ranks and near.
  bool rank_order = true;
  int64_t largest_bytes = 5 << 19;
};

constexpr DType kSummed[] = {DType::kF32, DType::kBF16, DType::kF16};

// A value that depends on all three; of unlike sizes, so that another order or a second rounding
// shows.
inline float ValueOf(uint64_t seed, int rank, int64_t i) {
  uint64_t x = seed * 0x9e3779b97f4a7c15 + static_cast<uint64_t>(rank) * 0xbf58476d1ce4e5b9 +
               static_cast<uint64_t>(i) * 0x94d049bb133111eb;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  x ^= x >> 31;
  const float mantissa = 1.0f + static_cast<float>(x & 0xffffff) / 16777216.0f;
  const auto exponent = static_cast<int>(x >> 24 & 15) - 8;
  return std::ldexp((x >> 40 & 1) != 0 ? mantissa : -mantissa, exponent);
}

inline float Get(const View& data, int64_t i) {
  if (data.type == DType::kF32) return data.as<float>()[i];
  const uint16_t bits = data.as<uint16_t>()[i];
  return data.type == DType::kBF16 ? WidenBf16(bits) : WidenF16(bits);
}
inline void Set(const View& data, int64_t i, float x) {
  if (data.type == DType::kF32) {
    data.as<float>()[i] = x;
  } else {
    data.as<uint16_t>()[i] = data.type == DType::kBF16 ? RoundToBf16(x) : RoundToF16(x);
  }
}
inline void Fill(const View& data, uint64_t seed, int rank) {
  for (int64_t i = 0; i < data.elements(); ++i) Set(data, i, ValueOf(seed, rank, i));
}

// Owned memory with guard bytes behind it.
class Array {
 public:
  Array(DType type, int64_t elements)
      : bytes_(static_cast<size_t>(elements) * SizeOf(type) + 64, kGuard),
        view_(View::Contiguous(bytes_.data(), type, {elements})) {}
  Array(const Array&) = delete;
  const View& view() const { return view_; }
  bool GuardIntact() const {
    for (size_t i = view_.bytes(); i < bytes_.size(); ++i) {
      if (bytes_[i] != kGuard) return false;
    }
    return true;
  }
  bool SameBits(const Array& other) const { return bytes_ == other.bytes_; }
  uint64_t Hash() const {
    uint64_t hash = 1469598103934665603u;
    for (const unsigned char byte : bytes_) hash = (hash ^ byte) * 1099511628211u;
    return hash;
  }

 private:
  static constexpr unsigned char kGuard = 0xa5;
  std::vector<unsigned char> bytes_;
  View view_;
};

// The sum over ranks of what Fill gives each.
inline void FillSum(const View& out, uint64_t seed, int ranks) {
  Array part(out.type, 1);
  for (int64_t i = 0; i < out.elements(); ++i) {
    float sum = 0;
    for (int r = 0; r < ranks; ++r) {
      Set(part.view(), 0, ValueOf(seed, r, i));
      sum = r == 0 ? Get(part.view(), 0) : sum + Get(part.view(), 0);
    }
    Set(out, i, sum);
  }
}

inline std::vector<int64_t> SizesOf(DType type, int64_t largest_bytes) {
  const auto border = static_cast<int64_t>((64 << 10) / SizeOf(type));
  std::vector<int64_t> sizes = {0, 1, 7, 33, 1001};
  for (const int64_t n : {border - 1, border, border + 1}) sizes.push_back(n);
  sizes.push_back(largest_bytes / static_cast<int64_t>(SizeOf(type)) + 3);
  return sizes;
}

// Whether all ranks have the same bits.
inline std::string SameEverywhere(ProcessGroup& group, const Array& data) {
  Array own(DType::kI64, 1), all(DType::kI64, group.size());
  const uint64_t hash = data.Hash();
  std::memcpy(own.view().data, &hash, 8);
  if (const auto s = group.AllGather(own.view(), all.view()); !s.ok()) return Message(s);
  for (int r = 0; r < group.size(); ++r) {
    if (all.view().as<uint64_t>()[r] != hash) return Cat("rank ", r, " has other bits");
  }
  return "";
}

inline std::string CheckSum(const Rig& rig, DType type, int64_t n, uint64_t seed) {
  ProcessGroup& group = rig.group;
  Array data(type, n), sum(type, n);
  Fill(data.view(), seed, group.rank());
  if (const auto status = group.AllReduce(data.view()); !status.ok()) return Message(status);
  if (!data.GuardIntact()) return "wrote behind the end";
  FillSum(sum.view(), seed, group.size());
  if (rig.rank_order) return data.SameBits(sum) ? "" : "not the rank-order sum";
  const double ulp = type == DType::kF32 ? 0x1p-23 : type == DType::kBF16 ? 0x1p-7 : 0x1p-10;
  for (int64_t i = 0; i < n; ++i) {  // one rounding an addition, of sums below 256 a rank
    const double bound = 256.0 * group.size() * group.size() * ulp;
    const double error = std::abs(double{Get(data.view(), i)} - double{Get(sum.view(), i)});
    if (!(error <= bound)) return Cat("element ", i, " is ", error, " off");
  }
  return SameEverywhere(group, data);
}

inline std::string CheckSums(const Rig& rig) {
  uint64_t seed = 1;
  for (const DType type : kSummed) {
    for (const int64_t n : SizesOf(type, rig.largest_bytes)) {
      const std::string wrong = CheckSum(rig, type, n, ++seed);
      if (!wrong.empty()) return Cat("AllReduce of ", n, " ", NameOf(type), ": ", wrong);
    }
  }
  return "";
}

inline std::string CheckGather(ProcessGroup& group, DType type, int64_t n, bool in_place) {
  Array in(type, n), out(type, n * group.size()), expected(type, n * group.size());
  View own = View::Contiguous(nullptr, type, {n});
  const auto part = [&](const Array& all, int r) {
    own.data = all.view().as<std::byte>() + r * own.bytes();
    return own;
  };
  const View from = in_place ? part(out, group.rank()) : in.view();
  Fill(from, 5, group.rank());
  for (int r = 0; r < group.size(); ++r) Fill(part(expected, r), 5, r);
  if (const auto status = group.AllGather(from, out.view()); !status.ok()) return Message(status);
  return out.SameBits(expected) ? "" : "wrong bytes";
}

inline std::string CheckGathers(const Rig& rig) {
  for (const int64_t n : SizesOf(DType::kBF16, rig.largest_bytes)) {
    for (const bool in_place : {false, true}) {
      const std::string wrong = CheckGather(rig.group, DType::kBF16, n, in_place);
      if (!wrong.empty()) return Cat("AllGather of ", n, ": ", wrong);
    }
  }
  return "";
}

inline std::string CheckBroadcasts(const Rig& rig) {
  for (int root = 0; root < rig.group.size(); ++root) {
    for (const int64_t n : SizesOf(DType::kF32, rig.largest_bytes)) {
      Array data(DType::kF32, n), expected(DType::kF32, n);
      Fill(data.view(), 9, rig.group.rank());
      Fill(expected.view(), 9, root);
      const auto status = rig.group.Broadcast(data.view(), root);
      if (!status.ok()) return Message(status);
      if (!data.SameBits(expected)) return Cat("Broadcast of ", n, " from ", root, ": wrong bytes");
    }
  }
  return "";
}

inline std::string CheckBarriers(const Rig& rig) {
  for (int i = 1; i <= 50; ++i) {
    if (rig.arrivals != nullptr) rig.arrivals->fetch_add(1);
    if (const auto status = rig.group.Barrier(); !status.ok()) return Message(status);
    if (rig.arrivals != nullptr && rig.arrivals->load() < i * rig.group.size()) {
      return "Barrier let a rank through before all had come";
    }
  }
  return "";
}

// Calls of every kind in turn: what one leaves behind must not disturb the next.
inline std::string CheckMixtures(const Rig& rig) {
  for (int i = 0; i < 60; ++i) {
    const auto n = static_cast<int64_t>(std::abs(ValueOf(77, 0, i)) * 100) + 1;
    std::string wrong = CheckSum(rig, kSummed[i % 3], n, 1000 + i);
    if (wrong.empty() && i % 3 == 0) wrong = CheckGather(rig.group, DType::kF32, n, i % 2 == 0);
    Array data(DType::kU32, 3);
    const auto root = static_cast<uint32_t>(i % rig.group.size());
    for (int at = 0; at < 3; ++at) data.view().as<uint32_t>()[at] = rig.group.rank();
    const auto status = rig.group.Broadcast(data.view(), static_cast<int>(root));
    if (wrong.empty() && !status.ok()) wrong = Message(status);
    if (wrong.empty() && data.view().as<uint32_t>()[2] != root) wrong = "another root's data";
    if (!wrong.empty()) return Cat("mixture ", i, ": ", wrong);
  }
  return "";
}

// Mistakes of the caller are refused before anyone waits.
inline std::string CheckRefusals(ProcessGroup& group) {
  Array some(DType::kI32, 4), all(DType::kI32, 4 * group.size() + 1);
  if (group.AllReduce(some.view()).ok()) return "AllReduce of i32";
  if (group.AllGather(some.view(), all.view()).ok()) return "AllGather of another size";
  if (group.Broadcast(some.view(), group.size()).ok()) return "Broadcast from no rank";
  if (group.Broadcast(some.view(), -1).ok()) return "Broadcast from rank -1";
  return "";
}

inline std::string Conform(const Rig& rig) {
  for (const auto& check :
       {CheckSums, CheckGathers, CheckBroadcasts, CheckBarriers, CheckMixtures}) {
    if (const std::string wrong = check(rig); !wrong.empty()) {
      return Cat("rank ", rig.group.rank(), ": ", wrong);
    }
  }
  return CheckRefusals(rig.group);
}

// Calls until one fails; its status. OK if none of very many does.
inline absl::Status CallUntilItFails(ProcessGroup& group) {
  for (int i = 0; i < 10'000'000; ++i) {
    Array data(DType::kF32, i % 16 == 0 ? 40000 : 100);
    std::memset(data.view().data, 0, data.view().bytes());
    if (const auto status = group.AllReduce(data.view()); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace shardline::testing
