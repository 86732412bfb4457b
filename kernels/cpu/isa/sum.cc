// The sum of several parts, added in their order in f32 and rounded once. The same bits in every
// instruction set: additions and roundings alone, nothing to fuse.
#include "kernels/cpu/isa/kernels.h"

namespace shardline::SHARDLINE_ISA {
namespace {

// Elements that are summed over all parts before the next; their f32 sums stay in the first cache.
constexpr int64_t kBlock = 512;

template <typename T>
void SumOfTwo(const T* a, const T* b, int64_t n, T* out) {
  for (int64_t i = 0; i < n; ++i) Put(out + i, ToFloat(a[i]) + ToFloat(b[i]));
}

template <typename T>
void SumBlock(const void* const* parts, int count, int64_t begin, int64_t n, T* out) {
  alignas(64) float sum[kBlock];
  const auto part = [&](int p) { return static_cast<const T*>(parts[p]) + begin; };
  for (int64_t i = 0; i < n; ++i) sum[i] = ToFloat(part(0)[i]);
  for (int p = 1; p < count; ++p) {
    const T* x = part(p);
    for (int64_t i = 0; i < n; ++i) sum[i] += ToFloat(x[i]);
  }
  for (int64_t i = 0; i < n; ++i) Put(out + begin + i, sum[i]);
}

template <typename T>
void SumRange(const void* const* parts, int count, T* out, int64_t begin, int64_t end) {
  if (count == 2) {
    return SumOfTwo(static_cast<const T*>(parts[0]) + begin,
                    static_cast<const T*>(parts[1]) + begin, end - begin, out + begin);
  }
  for (int64_t i = begin; i < end; i += kBlock) {
    SumBlock(parts, count, i, Least(kBlock, end - i), out);
  }
}

}  // namespace

void Sum(const void* const* parts, int count, const View& out, int64_t begin, int64_t end) {
  SL_FOR_FLOAT_TYPE(out.type, T, SumRange(parts, count, static_cast<T*>(out.data), begin, end));
}

}  // namespace shardline::SHARDLINE_ISA
