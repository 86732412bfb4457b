// Weight layouts of the CPU: [n / 16][k][16] f32 or f16, or [n / 16][k / 2][16][2] bf16, n and the
// pairs padded with zeros. One row of 16 columns (or pairs) is what one step of the product reads,
// and a whole group is read in order.
#include "kernels/cpu/pack.h"

#include <cstring>

#include "kernels/cpu/kernels.h"
#include "kernels/half.h"

namespace shardline {
namespace {

float Widened(const View& w, int64_t i) {
  if (w.type == DType::kF32) return w.as<float>()[i];
  const uint16_t bits = w.as<uint16_t>()[i];
  return w.type == DType::kBF16 ? WidenBf16(bits) : WidenF16(bits);
}

void PackRowF32(const View& w, int64_t row, float* out) {
  const int64_t k = w.shape[1], start = row * w.stride[0];
  for (int64_t i = 0; i < k; ++i) out[i * 16] = Widened(w, start + i);
}

void PackRowF16(const View& w, int64_t row, uint16_t* out) {
  const int64_t k = w.shape[1], start = row * w.stride[0];
  for (int64_t i = 0; i < k; ++i) {
    out[i * 16] =
        w.type == DType::kF16 ? w.as<uint16_t>()[start + i] : RoundToF16(Widened(w, start + i));
  }
}

void PackRowBf16(const View& w, int64_t row, uint16_t* out) {
  const int64_t k = w.shape[1], start = row * w.stride[0];
  for (int64_t i = 0; i < k; ++i) {
    out[i / 2 * 32 + i % 2] =
        w.type == DType::kBF16 ? w.as<uint16_t>()[start + i] : RoundToBf16(Widened(w, start + i));
  }
}

}  // namespace

size_t CpuPackedBytes(DType type, int64_t n, int64_t k) {
  const int64_t groups = (n + 15) / 16;
  const int64_t depth = type == DType::kBF16 ? PaddedDepth(k) : k;
  return static_cast<size_t>(groups * 16 * depth) * SizeOf(type);
}

void CpuPack(const View& w, DType type, void* memory, Packed* out) {
  const int64_t n = w.shape[0], k = w.shape[1];
  *out = Packed{
      .data = memory, .type = type, .rows = n, .cols = k, .bytes = CpuPackedBytes(type, n, k)};
  if (n % 16 != 0 || k % 2 != 0) std::memset(memory, 0, out->bytes);
  for (int64_t row = 0; row < n; ++row) {
    if (type == DType::kBF16) {
      PackRowBf16(w, row,
                  static_cast<uint16_t*>(memory) + row / 16 * 16 * PaddedDepth(k) + row % 16 * 2);
    } else if (type == DType::kF16) {
      PackRowF16(w, row, static_cast<uint16_t*>(memory) + row / 16 * 16 * k + row % 16);
    } else {
      PackRowF32(w, row, static_cast<float*>(memory) + row / 16 * 16 * k + row % 16);
    }
  }
}

}  // namespace shardline
