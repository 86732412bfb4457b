// This instruction set's table.
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/tile.h"

namespace shardline::SHARDLINE_ISA {

extern const Kernels kKernels = {
    .tile_rows = kTileRows,
#if defined(__AVX512BF16__)
    .bf16_pairs = true,
#endif
    .pack_panels = PackPanels,
    .matmul = Matmul,
    .embed = Embed,
    .rms_norm = RmsNorm,
    .rope = Rope,
    .kv_write = KvWrite,
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
    .scan = Scan,
    .attention_bytes = AttentionBytes,
    .attend_split = AttendSplit,
    .attend_merge = AttendMerge,
    .attend_finish = AttendFinish,
};

}  // namespace shardline::SHARDLINE_ISA
