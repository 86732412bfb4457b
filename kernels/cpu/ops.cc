// The CPU's table of operations: cuts each into ranges for the threads and runs the kernels of one
// instruction set on them.
#include "kernels/cpu/ops.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace shardline {
namespace {

constexpr int64_t kParallelWork =
    32768;  // elements (or products / 8) below which one thread is as quick
constexpr int64_t kPanelsPerBlock = 8;
constexpr int64_t kChunksPerThread = 4;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows [0, rows) of `width` elements each, in ranges.
template <typename Body>
void ForRows(const OpContext& context, int64_t rows, int64_t width, const Body& body) {
  const int64_t per_range = std::max<int64_t>(1, kParallelWork / std::max<int64_t>(1, width));
  const int64_t ranges = std::min(CeilDiv(rows, per_range), rows);
  if (ranges <= 1 || ThreadsOf(context) == 1) {
    body(int64_t{0}, rows);
    return;
  }
  ParallelFor(context, ranges,
              [&](int64_t i, int) { body(rows * i / ranges, rows * (i + 1) / ranges); });
}

// Blocks of panels times ranges of column groups.
void MultiplyPanels(const Kernels& kernels, const OpContext& context, const MatmulCall& call) {
  const int64_t panels = CeilDiv(call.rows, kernels.tile_rows);
  const int64_t groups = CeilDiv(call.w.rows, 16);
  const int64_t blocks = CeilDiv(panels, kPanelsPerBlock);
  const int64_t threads = ThreadsOf(context);
  if (threads == 1 || call.rows * call.w.rows * call.w.cols < kParallelWork * 8) {
    kernels.matmul(call, 0, panels, 0, groups);
    return;
  }
  const int64_t per_thread = std::clamp<int64_t>(groups / (threads * 4), 1, kChunksPerThread);
  const int64_t ranges = std::min(groups, threads * per_thread);
  ParallelFor(context, blocks * ranges, [&](int64_t i, int) {
    const int64_t block = i / ranges, range = i % ranges;
    kernels.matmul(call, block * kPanelsPerBlock, std::min(panels, (block + 1) * kPanelsPerBlock),
                   groups * range / ranges, groups * (range + 1) / ranges);
  });
}

size_t PanelBytes(int64_t rows, int64_t k) {
  return static_cast<size_t>(rows * PaddedDepth(k)) * sizeof(float);
}

void CpuMatmul(const Kernels& kernels, const OpContext& context, const View& x, const Packed& w,
               const View* bias, const View& y) {
  MatmulCall call{
      .rows = x.shape[0], .w = w, .bias = bias ? bias->as<const float>() : nullptr, .y = y};
  const bool pairs = kernels.bf16_pairs && x.type == DType::kBF16 && w.type == DType::kBF16;
  call.form = pairs ? PanelForm::kPairs : PanelForm::kF32;
  const bool as_panel = pairs || x.type == DType::kF32;
  if (x.shape[0] == 1 && as_panel && x.shape[1] % 2 == 0) {  // one row is its own panel
    call.panels = x.data;
    MultiplyPanels(kernels, context, call);
    return;
  }
  Scratch scratch(context, PanelBytes(x.shape[0], x.shape[1]));
  void* panels = scratch.Take(PanelBytes(x.shape[0], x.shape[1]));
  ForRows(
      context, CeilDiv(x.shape[0], kernels.tile_rows), x.shape[1] * kernels.tile_rows,
      [&](int64_t begin, int64_t end) { kernels.pack_panels(x, call.form, begin, end, panels); });
  call.panels = panels;
  MultiplyPanels(kernels, context, call);
}

// Row `i` of the second dimension of a [tokens, heads, n], as [tokens, n].
View HeadOf(const View& x, int64_t i) {
  View head = x;
  head.data =
      static_cast<std::byte*>(x.data) + i * x.stride[1] * static_cast<int64_t>(SizeOf(x.type));
  head.rank = 2;
  head.shape = {x.shape[0], x.shape[2]};
  head.stride = {x.stride[0], x.stride[2]};
  return head;
}

// A thread takes a head's product as a whole.
void CpuMatmulHeads(const Kernels& kernels, const OpContext& context, const View& x,
                    const Packed* w, const View& y) {
  const int64_t tokens = x.shape[0], heads = x.shape[1];
  const int64_t panels = CeilDiv(tokens, kernels.tile_rows);
  const int64_t parts = std::min<int64_t>(heads, ThreadsOf(context));
  const size_t bytes = Scratch::Rounded(PanelBytes(tokens, x.shape[2]));
  Scratch scratch(context, parts * bytes);
  auto* memory = static_cast<std::byte*>(scratch.Take(parts * bytes));
  std::atomic<int64_t> next{0};
  ParallelFor(context, parts, [&](int64_t part, int) {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < heads;) {
      const bool pairs = kernels.bf16_pairs && x.type == DType::kBF16 && w[i].type == DType::kBF16;
      const MatmulCall call{.panels = memory + part * bytes,
                            .form = pairs ? PanelForm::kPairs : PanelForm::kF32,
                            .rows = tokens,
                            .w = w[i],
                            .y = HeadOf(y, i)};
      kernels.pack_panels(HeadOf(x, i), call.form, 0, panels, memory + part * bytes);
      kernels.matmul(call, 0, panels, 0, CeilDiv(w[i].rows, 16));
    }
  });
}

void CopyRows(const View& x, const View& y, int64_t begin, int64_t end) {
  const auto size = static_cast<int64_t>(SizeOf(x.type));
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t h = 0; h < x.shape[1]; ++h) {
      std::memcpy(static_cast<std::byte*>(y.data) + (t * y.stride[0] + h * y.stride[1]) * size,
                  static_cast<std::byte*>(x.data) + (t * x.stride[0] + h * x.stride[1]) * size,
                  x.shape[2] * size);
    }
  }
}

// The functions of the table; `kKernels` is one instruction set's.
template <const Kernels& kKernels>
struct Functions {
  static size_t ScratchBytes(const ScratchLimits& limits, int threads) {
    return std::max(PanelBytes(limits.max_tokens, limits.hidden) + 64,
                    AttentionScratchBytes(kKernels, limits, threads));
  }
  static void Matmul(const OpContext& context, const View& x, const Packed& w, const View* bias,
                     const View& y) {
    if (x.shape[0] > 0) CpuMatmul(kKernels, context, x, w, bias, y);
  }
  static void MatmulHeads(const OpContext& context, const View& x, const Packed* w, const View& y) {
    if (x.shape[0] > 0) CpuMatmulHeads(kKernels, context, x, w, y);
  }
  static void Copy(const OpContext& context, const View& x, const View& y) {
    ForRows(context, x.shape[0], x.shape[1] * x.shape[2],
            [&](int64_t begin, int64_t end) { CopyRows(x, y, begin, end); });
  }
  static void Embed(const OpContext& context, const View& ids, const Packed& table, float scale,
                    const View& y) {
    ForRows(context, y.shape[0], y.shape[1],
            [&](int64_t begin, int64_t end) { kKernels.embed(ids, table, scale, y, begin, end); });
  }
  static void RmsNorm(const OpContext& context, const View& x, const View& weight, Norm norm,
                      const View& y) {
    ForRows(context, x.shape[0], x.elements() / std::max<int64_t>(1, x.shape[0]),
            [&](int64_t begin, int64_t end) { kKernels.rms_norm(x, weight, norm, y, begin, end); });
  }
  static void Rope(const OpContext& context, const View& x, const View& cos, const View& sin,
                   RopeStyle style) {
    ForRows(context, x.shape[0], x.shape[1] * x.shape[2],
            [&](int64_t begin, int64_t end) { kKernels.rope(x, cos, sin, style, begin, end); });
  }
  static void KvWrite(const OpContext& context, const View& k, const View& v, const View& slots,
                      const KvPages& pages) {
    ForRows(context, k.shape[0], 2 * k.shape[1] * k.shape[2],
            [&](int64_t begin, int64_t end) { kKernels.kv_write(k, v, slots, pages, begin, end); });
  }
  static void Attention(const OpContext& context, const AttentionArgs& args) {
    CpuAttention(kKernels, context, args);
  }
  static void Gated(const OpContext& context, Activation act, const View& gate, const View& up,
                    const View& y) {
    ForRows(context, y.shape[0], 4 * y.shape[1],
            [&](int64_t begin, int64_t end) { kKernels.gated(act, gate, up, y, begin, end); });
  }
  static void Add(const OpContext& context, const View& x, const View& y) {
    ForRows(context, x.shape[0], x.shape[1],
            [&](int64_t begin, int64_t end) { kKernels.add(x, y, begin, end); });
  }
  static void Scale(const OpContext& context, const View& x, float factor, float cap) {
    ForRows(context, x.shape[0], cap > 0 ? 4 * x.shape[1] : x.shape[1],
            [&](int64_t begin, int64_t end) { kKernels.scale(x, factor, cap, begin, end); });
  }
  static void LayerNorm(const OpContext& context, const View& x, const View* weight,
                        const View* bias, float eps, const View& y) {
    ForRows(context, x.shape[0], x.elements() / std::max<int64_t>(1, x.shape[0]),
            [&](int64_t begin, int64_t end) {
              kKernels.layer_norm(x, weight, bias, eps, y, begin, end);
            });
  }
  static void Activate(const OpContext& context, Activation act, const View& x) {
    ForRows(context, x.shape[0], 4 * x.shape[1],
            [&](int64_t begin, int64_t end) { kKernels.activate(act, x, begin, end); });
  }
  static void Clamp(const OpContext& context, const View& x, float limit) {
    ForRows(context, x.shape[0], x.shape[1],
            [&](int64_t begin, int64_t end) { kKernels.clamp(x, limit, begin, end); });
  }
  static void Route(const OpContext& context, const Routing& routing, const View& scores,
                    const View* bias, const View& ids, const View& weights) {
    ForRows(context, scores.shape[0], scores.shape[1] * (ids.shape[1] + 4),
            [&](int64_t begin, int64_t end) {
              kKernels.route(routing, scores, bias, ids, weights, begin, end);
            });
  }
  static void AddRows(const OpContext& context, const View& x, const View& rows,
                      const View& weights, const View& y) {
    ForRows(context, y.shape[0], y.shape[1], [&](int64_t begin, int64_t end) {
      kKernels.add_rows(x, rows, weights, y, begin, end);
    });
  }
  static void Sum(const OpContext& context, const void* const* parts, int count, const View& out) {
    ForRows(context, out.elements(), count,
            [&](int64_t begin, int64_t end) { kKernels.sum(parts, count, out, begin, end); });
  }
  static void Conv(const OpContext& context, const ConvArgs& args) {
    ForRows(context, CeilDiv(args.y.shape[1], kChannelsPerBlock),
            args.y.shape[0] * (args.taps + 4) * kChannelsPerBlock,
            [&](int64_t begin, int64_t end) { kKernels.conv(args, begin, end); });
  }
  static void Scan(const OpContext& context, const ScanArgs& args) {
    ForRows(context, CeilDiv(args.y.shape[1], kChannelsPerBlock),
            args.y.shape[0] * 4 * args.a.shape[1] * kChannelsPerBlock,
            [&](int64_t begin, int64_t end) { kKernels.scan(args, begin, end); });
  }
  static constexpr Ops Table(std::string_view instruction_set) {
    return {.name = "cpu",
            .instruction_set = instruction_set,
            .scratch_bytes = ScratchBytes,
            .packed_bytes = CpuPackedBytes,
            .pack = CpuPack,
            .matmul = Matmul,
            .matmul_heads = MatmulHeads,
            .copy = Copy,
            .embed = Embed,
            .rms_norm = RmsNorm,
            .rope = Rope,
            .kv_write = KvWrite,
            .attention = Attention,
            .gated = Gated,
            .add = Add,
            .scale = Scale,
            .layer_norm = LayerNorm,
            .activate = Activate,
            .clamp = Clamp,
            .route = Route,
            .add_rows = AddRows,
            .sum = Sum,
            .conv = Conv,
            .scan = Scan};
  }
};

}  // namespace

const Ops kScalarOps = Functions<scalar::kKernels>::Table("scalar");
const Ops kAvx2Ops = Functions<avx2::kKernels>::Table("avx2");
const Ops kAvx512Ops = Functions<avx512::kKernels>::Table("avx512");
const Ops kAvx512Bf16Ops = Functions<avx512_bf16::kKernels>::Table("avx512_bf16");

}  // namespace shardline
