// Stores new keys and values in the paged cache, rounded to its type.
#include "kernels/cpu/isa/kernels.h"

namespace shardline::SHARDLINE_ISA {
namespace {

// `from`: [tokens, kv_heads, head_dim]; `pages`: [blocks, kv_heads, block_tokens, head_dim].
template <typename From, typename To>
void Token(const View& from, int64_t token, const View& pages, int64_t slot) {
  const int64_t block = slot / pages.shape[2], offset = slot % pages.shape[2];
  for (int64_t head = 0; head < from.shape[1]; ++head) {
    const From* in = RowOf<From>(from, token) + head * from.stride[1];
    To* out = RowOf<To>(pages, block) + head * pages.stride[1] + offset * pages.stride[2];
    for (int64_t i = 0; i < from.shape[2]; ++i) Put(out + i, ToFloat(in[i]));
  }
}

void Write(const View& from, int64_t token, const View& pages, int64_t slot) {
  SL_FOR_FLOAT_TYPE(from.type, From, {
    SL_FOR_FLOAT_TYPE(pages.type, To, (Token<From, To>(from, token, pages, slot)));
  });
}

}  // namespace

void KvWrite(const View& k, const View& v, const View& slots, const KvPages& pages, int64_t begin,
             int64_t end) {
  const auto* slot = static_cast<const int64_t*>(slots.data);
  for (int64_t t = begin; t < end; ++t) {
    Write(k, t, pages.k, slot[t * slots.stride[0]]);
    if (v.data != nullptr) Write(v, t, pages.v, slot[t * slots.stride[0]]);
  }
}

}  // namespace shardline::SHARDLINE_ISA
