// What one instruction set provides: the inner part of every operation, over a range of rows or
// tiles that one thread works through. kernels/cpu/isa/*.cc are compiled once per instruction set
// and fill one table each; kernels/cpu/ops.cc cuts the work into ranges and hands them to the
// threads.
#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace shardline {

// How the rows of x stand in memory for a matrix product: panels of `tile_rows` rows (fewer in the
// last), each [k][rows] so that the tile reads them in order. k is padded with zeros to an even
// number.
enum class PanelForm : uint8_t {
  kF32,    // [k][rows] f32
  kPairs,  // [k / 2][rows][2] bf16
};

constexpr int64_t PaddedDepth(int64_t k) { return (k + 1) / 2 * 2; }

struct MatmulCall {
  const void* panels = nullptr;
  PanelForm form = PanelForm::kF32;
  int64_t rows = 0;             // m
  Packed w;                     // [n, k]
  const float* bias = nullptr;  // [n] or null
  View y;                       // [m, n]
};

// Positions of one split of attention: partial softmax results are per split, at absolute
// positions.
inline constexpr int32_t kSplitPositions = 256;

// Consecutive queries of one row and all the query heads that share one kv head.
struct AttentionItem {
  const AttentionRow* row = nullptr;
  int32_t kv_head = 0;
  int32_t first_query = 0;  // within the row
  int32_t query_count = 0;
};

// A softmax in progress for `rows` = queries * group pairs of (query, head): maxima [rows], sums
// [rows], weighted values [rows, padded value_dim], all f32, unnormalised.
struct AttentionState {
  float* max = nullptr;
  float* sum = nullptr;
  float* values = nullptr;
};

constexpr int64_t PaddedHeadDim(int64_t head_dim) { return (head_dim + 15) / 16 * 16; }
constexpr int64_t AttentionStateFloats(int64_t rows, int64_t value_dim) {
  return (rows * (2 + PaddedHeadDim(value_dim)) + 15) / 16 * 16;
}

// What one thread takes of a convolution or a scan at the least.
inline constexpr int64_t kChannelsPerBlock = 16;

struct Kernels {
  int tile_rows = 0;
  bool bf16_pairs = false;  // multiplies bf16 by bf16 directly

  void (*pack_panels)(const View& x, PanelForm form, int64_t first_panel, int64_t end_panel,
                      void* panels);
  // Panels [first_panel, end_panel) times groups of 16 output features [first_group, end_group).
  void (*matmul)(const MatmulCall& call, int64_t first_panel, int64_t end_panel,
                 int64_t first_group, int64_t end_group);
  void (*embed)(const View& ids, const Packed& table, float scale, const View& y, int64_t begin,
                int64_t end);
  void (*rms_norm)(const View& x, const View& weight, Norm norm, const View& y, int64_t begin,
                   int64_t end);
  void (*rope)(const View& x, const View& cos, const View& sin, RopeStyle style, int64_t begin,
               int64_t end);
  void (*kv_write)(const View& k, const View& v, const View& slots, const KvPages& pages,
                   int64_t begin, int64_t end);
  void (*gated)(Activation act, const View& gate, const View& up, const View& y, int64_t begin,
                int64_t end);
  void (*add)(const View& x, const View& y, int64_t begin, int64_t end);
  void (*scale)(const View& x, float factor, float cap, int64_t begin, int64_t end);
  void (*layer_norm)(const View& x, const View* weight, const View* bias, float eps, const View& y,
                     int64_t begin, int64_t end);
  void (*activate)(Activation act, const View& x, int64_t begin, int64_t end);
  void (*clamp)(const View& x, float limit, int64_t begin, int64_t end);
  void (*route)(const Routing& routing, const View& scores, const View* bias, const View& ids,
                const View& weights, int64_t begin, int64_t end);
  void (*add_rows)(const View& x, const View& rows, const View& weights, const View& y,
                   int64_t begin, int64_t end);
  // Elements [begin, end) of the contiguous out and of every part.
  void (*sum)(const void* const* parts, int count, const View& out, int64_t begin, int64_t end);
  // Blocks of channels [begin, end), of all rows.
  void (*conv)(const ConvArgs& args, int64_t begin, int64_t end);
  void (*scan)(const ScanArgs& args, int64_t begin, int64_t end);

  // Bytes of thread-private memory that attend_split needs.
  int64_t (*attention_bytes)(int64_t rows, int64_t head_dim);
  // The softmax of one item over one split alone, into `partial`.
  void (*attend_split)(const AttentionArgs& args, const AttentionItem& item, int32_t split,
                       void* memory, const AttentionState& partial);
  // Adds a split's result to the results of all splits before it.
  void (*attend_merge)(const AttentionArgs& args, const AttentionItem& item, int32_t split,
                       const AttentionState& partial, const AttentionState& total);
  void (*attend_finish)(const AttentionArgs& args, const AttentionItem& item,
                        const AttentionState& total);
};

namespace scalar {
extern const Kernels kKernels;
}
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
namespace avx512_bf16 {
extern const Kernels kKernels;
}

}  // namespace shardline
