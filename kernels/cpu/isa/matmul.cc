// Matrix product: rows of x are packed into panels, then multiplied tile by tile with the packed
// weights.
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/tile.h"
#include "kernels/cpu/isa/transpose.h"

namespace shardline::SHARDLINE_ISA {
namespace {

constexpr int64_t kBlockPanels =
    8;  // panels that share a weight tile while it is in the nearest cache
constexpr int64_t kBlockGroups = 4;   // groups of columns whose sums are kept at once
constexpr int64_t kBlockDepth = 512;  // values of k per pass over the panels

int PanelRows(const MatmulCall& call, int64_t panel) {
  return static_cast<int>(Least<int64_t>(kTileRows, call.rows - panel * kTileRows));
}

template <typename T>
void WriteRow(const float* sums, const float* bias, int64_t count, T* out) {
  for (int64_t i = 0; i < count; ++i) Put(out + i, bias ? sums[i] + bias[i] : sums[i]);
}

void Write(const MatmulCall& call, int64_t panel, int64_t group, int64_t groups,
           const float* sums) {
  const int64_t first = group * 16;
  const int64_t count = Least(groups * 16, call.w.rows - first);
  const float* bias = call.bias ? call.bias + first : nullptr;
  for (int r = 0; r < PanelRows(call, panel); ++r) {
    const float* row = sums + r * kBlockGroups * 16;
    SL_FOR_FLOAT_TYPE(
        call.y.type, T,
        WriteRow<T>(row, bias, count, RowOf<T>(call.y, panel * kTileRows + r) + first));
  }
}

// One block of at most kBlockPanels panels by at most kBlockGroups groups, over all of k.
template <typename Product>
void Block(const MatmulCall& call, int64_t first_panel, int64_t end_panel, int64_t group,
           int64_t groups) {
  using X = typename Product::X;
  using W = typename Product::W;
  constexpr int64_t kStepDepth = Product::kWStep / 16;
  const int64_t depth = kStepDepth == 2 ? PaddedDepth(call.w.cols) : call.w.cols;
  const int64_t panel_depth = PaddedDepth(call.w.cols);
  const int64_t w_group = depth * 16;
  const int64_t x_per_depth = Product::kXStep;  // X elements of one row per kStepDepth values of k
  alignas(64) float sums[kBlockPanels][kTileRows * kBlockGroups * 16];
  const int64_t pass = end_panel - first_panel > 1 ? kBlockDepth : depth;
  for (int64_t k = 0; k < depth; k += pass) {
    for (int64_t panel = first_panel; panel < end_panel; ++panel) {
      const int rows = PanelRows(call, panel);
      const X* x = static_cast<const X*>(call.panels) +
                   panel * kTileRows * panel_depth / kStepDepth * x_per_depth;
      TileCall tile;
      tile.x = x + k / kStepDepth * x_per_depth * rows;
      tile.w = static_cast<const W*>(call.w.data) + group * w_group + k * 16;
      tile.w_group = w_group;
      tile.steps = Least(pass, depth - k) / kStepDepth;
      tile.sums = sums[panel - first_panel];
      tile.sums_row = kBlockGroups * 16;
      tile.resume = k > 0;
      Tiles<Product>(tile, rows, groups);
    }
  }
  for (int64_t panel = first_panel; panel < end_panel; ++panel) {
    Write(call, panel, group, groups, sums[panel - first_panel]);
  }
}

template <typename Product>
void Multiply(const MatmulCall& call, int64_t first_panel, int64_t end_panel, int64_t first_group,
              int64_t end_group) {
  for (int64_t panel = first_panel; panel < end_panel; panel += kBlockPanels) {
    const int64_t end = Least(panel + kBlockPanels, end_panel);
    for (int64_t group = first_group; group < end_group; group += kBlockGroups) {
      Block<Product>(call, panel, end, group, Least(kBlockGroups, end_group - group));
    }
  }
}

}  // namespace

void PackPanels(const View& x, PanelForm form, int64_t first_panel, int64_t end_panel,
                void* panels) {
  const int64_t k = x.shape[1], depth = PaddedDepth(k);
  const bool pairs = form == PanelForm::kPairs;
  auto* out = static_cast<float*>(panels);
  for (int64_t panel = first_panel; panel < end_panel; ++panel) {
    const int64_t first = panel * kTileRows;
    const int64_t count = Least<int64_t>(kTileRows, x.shape[0] - first);
    SL_FOR_FLOAT_TYPE(x.type, T, {
      const T* rows[kTileRows];
      for (int64_t r = 0; r < count; ++r) rows[r] = RowOf<T>(x, first + r);
      PackPanel(rows, count, k, pairs, out + first * (pairs ? depth / 2 : depth));
    });
  }
}

void Matmul(const MatmulCall& call, int64_t first_panel, int64_t end_panel, int64_t first_group,
            int64_t end_group) {
  if (call.w.type == DType::kF32) {
    Multiply<F32Product<0>>(call, first_panel, end_panel, first_group, end_group);
    return;
  }
  if (call.w.type == DType::kF16) {
    Multiply<F32Product<0, F16>>(call, first_panel, end_panel, first_group, end_group);
    return;
  }
#if defined(__AVX512BF16__)
  if (call.form == PanelForm::kPairs) {
    Multiply<PairsProduct>(call, first_panel, end_panel, first_group, end_group);
    return;
  }
#endif
  Multiply<WidenedProduct>(call, first_panel, end_panel, first_group, end_group);
}

}  // namespace shardline::SHARDLINE_ISA
