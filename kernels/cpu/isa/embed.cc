// Rows of the embedding table, read back from its packed layout: [n / 16][k][16] f32 or
// [n / 16][k / 2][16][2] bf16 or [n / 16][k][16] f16.
#include <cstring>

#include "kernels/cpu/isa/kernels.h"

namespace shardline::SHARDLINE_ISA {
namespace {

template <typename T>
void Row(const Packed& table, int64_t row, float scale, T* out) {
  const int64_t k = table.cols;
  if (table.type == DType::kBF16) {
    const Bf16* in =
        static_cast<const Bf16*>(table.data) + row / 16 * 16 * PaddedDepth(k) + row % 16 * 2;
    for (int64_t i = 0; i < k; ++i) Put(out + i, ToFloat(in[i / 2 * 32 + i % 2]) * scale);
  } else if (table.type == DType::kF16) {
    const F16* in = static_cast<const F16*>(table.data) + row / 16 * 16 * k + row % 16;
    for (int64_t i = 0; i < k; ++i) Put(out + i, ToFloat(in[i * 16]) * scale);
  } else {
    const float* in = static_cast<const float*>(table.data) + row / 16 * 16 * k + row % 16;
    for (int64_t i = 0; i < k; ++i) Put(out + i, in[i * 16] * scale);
  }
}

}  // namespace

void Embed(const View& ids, const Packed& table, float scale, const View& y, int64_t begin,
           int64_t end) {
  const auto* id = static_cast<const uint32_t*>(ids.data);
  for (int64_t t = begin; t < end; ++t) {
    const uint32_t row = id[t * ids.stride[0]];
    if (row < table.rows) {
      SL_FOR_FLOAT_TYPE(y.type, T, Row<T>(table, row, scale, RowOf<T>(y, t)));
    } else {
      std::memset(y.Rows(t, 1).data, 0, y.shape[1] * SizeOf(y.type));
    }
  }
}

}  // namespace shardline::SHARDLINE_ISA
