// The functions of this instruction set, collected in table.cc.
#pragma once

#include "kernels/cpu/isa/simd.h"
#include "kernels/cpu/kernels.h"

namespace shardline::SHARDLINE_ISA {

void PackPanels(const View& x, PanelForm form, int64_t first_panel, int64_t end_panel,
                void* panels);
void Matmul(const MatmulCall& call, int64_t first_panel, int64_t end_panel, int64_t first_group,
            int64_t end_group);
void Embed(const View& ids, const Packed& table, float scale, const View& y, int64_t begin,
           int64_t end);
void RmsNorm(const View& x, const View& weight, Norm norm, const View& y, int64_t begin,
             int64_t end);
void Rope(const View& x, const View& cos, const View& sin, RopeStyle style, int64_t begin,
          int64_t end);
void KvWrite(const View& k, const View& v, const View& slots, const KvPages& pages, int64_t begin,
             int64_t end);
void Gated(Activation act, const View& gate, const View& up, const View& y, int64_t begin,
           int64_t end);
void Add(const View& x, const View& y, int64_t begin, int64_t end);
void Scale(const View& x, float factor, float cap, int64_t begin, int64_t end);
void LayerNorm(const View& x, const View* weight, const View* bias, float eps, const View& y,
               int64_t begin, int64_t end);
void Activate(Activation act, const View& x, int64_t begin, int64_t end);
void Clamp(const View& x, float limit, int64_t begin, int64_t end);
void Route(const Routing& routing, const View& scores, const View* bias, const View& ids,
           const View& weights, int64_t begin, int64_t end);
void AddRows(const View& x, const View& rows, const View& weights, const View& y, int64_t begin,
             int64_t end);
void Sum(const void* const* parts, int count, const View& out, int64_t begin, int64_t end);
void Conv(const ConvArgs& args, int64_t begin, int64_t end);
void Scan(const ScanArgs& args, int64_t begin, int64_t end);
int64_t AttentionBytes(int64_t rows, int64_t head_dim);
void AttendSplit(const AttentionArgs& args, const AttentionItem& item, int32_t split, void* memory,
                 const AttentionState& partial);
void AttendMerge(const AttentionArgs& args, const AttentionItem& item, int32_t split,
                 const AttentionState& partial, const AttentionState& total);
void AttendFinish(const AttentionArgs& args, const AttentionItem& item,
                  const AttentionState& total);

// Row `i` of a view of elements T.
template <typename T>
SL_INLINE T* RowOf(const View& view, int64_t i) {
  return static_cast<T*>(view.data) + i * view.stride[0];
}

// Runs the body with T as the element type that `type` names.
#define SL_FOR_FLOAT_TYPE(type, T, ...) \
  do {                                  \
    if ((type) == DType::kBF16) {       \
      using T = Bf16;                   \
      __VA_ARGS__;                      \
    } else if ((type) == DType::kF16) { \
      using T = F16;                    \
      __VA_ARGS__;                      \
    } else {                            \
      using T = float;                  \
      __VA_ARGS__;                      \
    }                                   \
  } while (false)

}  // namespace shardline::SHARDLINE_ISA
