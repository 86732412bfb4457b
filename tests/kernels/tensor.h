// Owned arrays for the kernel tests: random contents in any float type, read back as double.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace shardline::testing {

inline constexpr DType kFloats[] = {DType::kF32, DType::kBF16, DType::kF16};
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline uint16_t ToBf16Bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (std::isnan(x)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  const uint32_t below = bits & 0xffff, kept = bits >> 16;
  const bool up = below > 0x8000 || (below == 0x8000 && (kept & 1) != 0);
  return static_cast<uint16_t>(kept + (up ? 1 : 0));
}
inline float FromBf16Bits(uint16_t x) {
  const uint32_t bits = uint32_t{x} << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}
// By arithmetic on values, where kernels work on bits.
inline float FromF16Bits(uint16_t x) {
  const int exponent = x >> 10 & 31, mantissa = x & 0x3ff;
  float out = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                            : std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
  if (exponent == 31) out = mantissa == 0 ? HUGE_VALF : NAN;
  return std::copysign(out, (x & 0x8000) != 0 ? -1.0f : 1.0f);
}
inline uint16_t ToF16Bits(float x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  if (std::isnan(x)) return sign | 0x7e00;
  const double magnitude = std::abs(double{x});
  if (magnitude >= 65520) return sign | 0x7c00;
  const int exponent = magnitude < 0x1p-14 ? -14 : std::ilogb(magnitude);
  // Steps of 2^(exponent - 10); nearbyint takes ties to even.
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
  return static_cast<uint16_t>(sign | (((exponent + 14) << 10) + steps));
}
inline float RoundTo(DType type, double x) {
  const auto f = static_cast<float>(x);
  if (type == DType::kF16) return FromF16Bits(ToF16Bits(f));
  return type == DType::kBF16 ? FromBf16Bits(ToBf16Bits(f)) : f;
}
// Half the distance between neighbouring values of `type` around x.
inline double HalfUlp(DType type, double x) {
  const int digits = type == DType::kBF16 ? 8 : type == DType::kF16 ? 11 : 24;
  const double least = type == DType::kF16 ? 0x1p-14 : 1e-37;  // subnormals below
  return std::ldexp(1.0, std::ilogb(std::max(std::abs(x), least)) - digits);
}

// A contiguous array with guard bytes behind it.
class Tensor {
 public:
  Tensor(DType type, std::initializer_list<int64_t> shape) {
    view_ = View::Contiguous(nullptr, type, shape);
    bytes_.assign(view_.bytes() + 64, 0xa5);
    view_.data = bytes_.data();
    for (size_t i = 0; i < view_.bytes(); ++i) bytes_[i] = 0;
  }
  Tensor(const Tensor& other) : view_(other.view_), bytes_(other.bytes_) {
    view_.data = bytes_.data();
  }
  Tensor& operator=(const Tensor&) = delete;

  const View& view() const { return view_; }
  operator const View&() const { return view_; }  // NOLINT: stands for its view in calls
  int64_t size() const { return view_.elements(); }
  DType type() const { return view_.type; }

  double Get(int64_t i) const {
    if (type() == DType::kF32) return view_.as<float>()[i];
    const uint16_t bits = view_.as<uint16_t>()[i];
    return type() == DType::kBF16 ? FromBf16Bits(bits) : FromF16Bits(bits);
  }
  void Set(int64_t i, float x) {
    if (type() == DType::kF32) {
      view_.as<float>()[i] = x;
    } else {
      view_.as<uint16_t>()[i] = type() == DType::kBF16 ? ToBf16Bits(x) : ToF16Bits(x);
    }
  }
  Tensor& Random(uint32_t seed, float scale = 1.0f) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, scale);
    for (int64_t i = 0; i < size(); ++i) Set(i, normal(random));
    return *this;
  }
  bool GuardIntact() const {
    for (size_t i = view_.bytes(); i < bytes_.size(); ++i) {
      if (bytes_[i] != 0xa5) return false;
    }
    return true;
  }
  bool SameBits(const Tensor& other) const {
    return view_.bytes() == other.view_.bytes() &&
           std::memcmp(view_.data, other.view_.data, view_.bytes()) == 0;
  }

 private:
  View view_;
  std::vector<unsigned char> bytes_;
};

struct Weights {
  Weights(const Ops& ops, const View& w, DType type)
      : memory(ops.packed_bytes(type, w.shape[0], w.shape[1]) + 64) {
    auto address = reinterpret_cast<uintptr_t>(memory.data());
    ops.pack(w, type, reinterpret_cast<void*>((address + 63) / 64 * 64), &packed);
  }
  std::vector<unsigned char> memory;
  Packed packed;
};

// Threads and scratch memory for calls.
class Machine {
 public:
  explicit Machine(int threads = 1, size_t scratch = 0) : pool_(threads), scratch_(scratch) {}
  OpContext context() {
    return {.threads = &pool_, .scratch = scratch_.data(), .scratch_bytes = scratch_.size()};
  }
  operator OpContext() { return context(); }  // NOLINT: stands for its context in calls

 private:
  ThreadPool pool_;
  std::vector<unsigned char> scratch_;
};

// Every instruction set of this machine.
inline std::vector<const Ops*> AllCpuOps() {
  std::vector<const Ops*> all;
  for (const char* name : {"scalar", "avx2", "avx512", "avx512_bf16"}) {
    if (const Ops* ops = CpuOpsFor(name)) all.push_back(ops);
  }
  return all;
}

}  // namespace shardline::testing
