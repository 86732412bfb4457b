// The table of operations that layers call, one table per device. Every operation is row-invariant:
// the bits of a token's result depend on that token's inputs alone, not on the number of tokens in
// the call, on the tiles chosen, or on the number of threads.
//
// Types: `x` and `y` are f32, bf16 or f16 (the model's activation type); sums are f32 in one fixed
// order; a narrower result is rounded once, to nearest even. Norm weights and biases are f32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/packed.h"
#include "kernels/view.h"

namespace shardline {

class ThreadPool;  // kernels/cpu/thread_pool.h

// What an operation runs on. `scratch` is private to the call; Ops::scratch_bytes tells how much.
struct OpContext {
  ThreadPool* threads = nullptr;  // nullptr: the calling thread alone
  void* scratch = nullptr;
  size_t scratch_bytes = 0;
};

enum class RopeStyle : uint8_t {
  kHalf,         // pairs (i, i + d/2): Hugging Face's default, "neox"
  kInterleaved,  // pairs (2i, 2i + 1): GGUF's llama
};

enum class Activation : uint8_t {
  kSilu,
  kGeluTanh,  // the tanh approximation of GELU
  kGelu,      // x times the normal distribution's share below x
  kRelu2,     // max(x, 0)²
};

// How often a normed row is rounded to the activation type.
enum class NormRounding : uint8_t {
  kTwice,  // before the weight and after it, as in Hugging Face's Llama
  kOnce,   // after the weight, as in its Gemma
};

struct Norm {
  float eps = 0;
  NormRounding rounding = NormRounding::kTwice;

  bool operator==(const Norm&) const = default;
};

// One layer's paged keys and values: [blocks, kv_heads, block_tokens, head_dim], contiguous; or
// keys alone, where values are the first columns of the same rows (v is then a view of k's memory,
// [..., value_dim]).
struct KvPages {
  View k;
  View v;
};

// Some consecutive tokens of one sequence inside a flat batch.
struct AttentionRow {
  int32_t first_token;     // index of the row's first token in q and out
  int32_t token_count;     // >= 1
  int32_t first_position;  // its absolute position in the sequence
  const int32_t*
      blocks;  // block table: block of positions [i * block_tokens, (i+1) * block_tokens)
};

// A linear bias of scores by distance (Press et al. 2022, arXiv:2108.12409): the query at position
// p sees the key at position j with slope * (j - p) added.
struct Alibi {
  const float* slopes = nullptr;  // [heads]; null: no bias
  float scale = 1.0f;             // of the bias
  bool rounded = false;  // positions, and slopes times them, are rounded to bf16, as Falcon's are
};

struct AttentionArgs {
  View q;    // [tokens, heads, head_dim]
  View out;  // [tokens, heads, value_dim]; as many dimensions as the pages' values have, at most
             // head_dim
  KvPages pages;
  const AttentionRow* rows = nullptr;
  int32_t row_count = 0;
  float scale = 1.0f;
  int64_t window = 0;   // a query sees so many positions, its own the last; 0: all before it
  float score_cap = 0;  // > 0: scores become cap * tanh(score / cap), after `scale`
  Alibi alibi;          // not with score_cap
};

// What a router makes of its scores, expert by expert.
enum class Scoring : uint8_t {
  kSoftmax,  // over all experts; renormalised, the same as a softmax over the chosen alone
  kSigmoid,
};

// By what groups of experts are compared.
enum class GroupScore : uint8_t { kLargest, kSumOfTwoLargest };
constexpr int64_t kMostExpertGroups = 64;

// How a router chooses. Sources: https://arxiv.org/abs/2401.06066, https://arxiv.org/abs/2412.19437
struct Routing {
  Scoring scoring = Scoring::kSoftmax;
  DType logits = DType::kF32;   // scores are rounded to it first
  DType weights = DType::kF32;  // the chosen experts' weights are rounded to it, before `scale`
  bool renormalise = false;     // they are divided by their sum and `epsilon`
  float epsilon = 0;
  float scale = 1;
  // Experts stand in groups of equal sizes, neighbours together; only the best groups' are chosen.
  int64_t groups = 1, active_groups = 1;  // at most kMostExpertGroups
  GroupScore group_score = GroupScore::kLargest;

  bool operator==(const Routing&) const = default;
};

// Recurrent layers keep one block of state for each sequence: row.blocks[0] of
// [blocks, ., channels], which a row at position 0 does not read and every row writes.
constexpr int64_t kMostTaps = 16, kMostStates = 256;

struct ConvArgs {
  View x;                      // [tokens, channels]
  View weight;                 // [channels * taps] f32, the oldest input's first
  const View* bias = nullptr;  // [channels] f32 or null
  int64_t taps = 0;            // at most kMostTaps
  View state;                  // [blocks, taps - 1, channels] of x's type: the last inputs
  const AttentionRow* rows = nullptr;
  int32_t row_count = 0;
  View y;  // [tokens, channels], not x
};

struct ScanArgs {
  View x, dt, gate;  // [tokens, channels]
  View b, c;         // [tokens, states]
  View a;            // [channels, states] f32; at most kMostStates
  View d, dt_bias;   // [channels] f32
  View state;        // [blocks, states, channels] f32
  const AttentionRow* rows = nullptr;
  int32_t row_count = 0;
  View y;  // [tokens, channels]; may be x
};

// Limits that size the scratch buffer.
struct ScratchLimits {
  int64_t max_tokens = 0;   // in one call
  int64_t max_context = 0;  // positions of one sequence
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;  // of keys; values have at most as much
  int64_t hidden = 0;    // the widest row of any call
};

// Rows whose packed elements stand among each other.
inline constexpr int64_t kPackedRows = 16;

struct Ops {
  std::string_view name;             // "cpu", "reference"
  std::string_view instruction_set;  // "scalar", "avx2", "avx512", "avx512_bf16"

  size_t (*scratch_bytes)(const ScratchLimits& limits, int threads);

  // Packing. `w`: [n, k] of any float type, rows may be strided. The packed type is `type`.
  // A matrix may be packed some rows at a time: a slice that begins at row r, a multiple of
  // kPackedRows, goes to packed_bytes(type, r, k) behind the first.
  size_t (*packed_bytes)(DType type, int64_t n, int64_t k);
  void (*pack)(const View& w, DType type, void* memory, Packed* out);

  // y[m, n] = x[m, k] · wᵀ + bias. y: x's type or f32. bias: [n] f32 or null.
  void (*matmul)(const OpContext&, const View& x, const Packed& w, const View* bias, const View& y);
  // y[t, i] = x[t, i] · w[i]ᵀ: a product of its own for each head. x: [tokens, heads, k], y:
  // [tokens, heads, n], x's type or f32; w: [heads] matrices [n, k].
  void (*matmul_heads)(const OpContext&, const View& x, const Packed* w, const View& y);
  // y := x. Both [tokens, heads, n] of one type.
  void (*copy)(const OpContext&, const View& x, const View& y);
  // y[t, :] = row ids[t] of the table, times scale, or zeros where the table has no such row.
  // ids: [tokens] u32.
  void (*embed)(const OpContext&, const View& ids, const Packed& table, float scale, const View& y);
  // y = x / sqrt(mean(x²) + eps) * weight. x, y: [tokens, n] or [tokens, heads, n] (may be the
  // same), weight: [n] f32. x may be f32 where y is not: kTwice then rounds it first.
  void (*rms_norm)(const OpContext&, const View& x, const View& weight, Norm norm, const View& y);
  // Rotates the first 2 * cos.shape[1] dimensions of every head in place.
  // x: [tokens, heads, head_dim]; cos, sin: [tokens, rot_dim / 2] f32.
  void (*rope)(const OpContext&, const View& x, const View& cos, const View& sin, RopeStyle style);
  // Stores token t's key and value at slot[t] = block * block_tokens + offset. k, v: [tokens,
  // kv_heads, head_dim]; slots: [tokens] i64; rounds to the pages' type. v is View{} where values
  // are columns of the keys.
  void (*kv_write)(const OpContext&, const View& k, const View& v, const View& slots,
                   const KvPages& pages);
  // Causal attention over the paged cache, which already holds the rows' own keys and values:
  // softmax in f32, splits at absolute positions (multiples of 256) merged in order. heads is a
  // multiple of kv_heads. Blocks that lie before the windows of all of a row's tokens are not read.
  void (*attention)(const OpContext&, const AttentionArgs& args);
  // y = act(gate) * up, each rounded to the type of y. All [tokens, inner].
  void (*gated)(const OpContext&, Activation act, const View& gate, const View& up, const View& y);
  // x += y, rounded to x's type. Both [tokens, hidden].
  void (*add)(const OpContext&, const View& x, const View& y);
  // x *= factor; then, with cap > 0, x = cap * tanh(x / cap). Rounded once. [tokens, n].
  void (*scale)(const OpContext&, const View& x, float factor, float cap);
  // y = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias, rounded once. x, y as in rms_norm;
  // weight, bias: [n] f32, or [heads * n] where every head has its own, or null.
  void (*layer_norm)(const OpContext&, const View& x, const View* weight, const View* bias,
                     float eps, const View& y);
  // x := act(x), rounded to x's type. [tokens, inner].
  void (*activate)(const OpContext&, Activation act, const View& x);
  // x := x within [-limit, limit]; a NaN stays. [tokens, n].
  void (*clamp)(const OpContext&, const View& x, float limit);
  // The ids.shape[1] experts of every row that score highest, of equals the first, and their
  // weights; the best first. `bias` is added to what they are chosen by, not to their weights.
  // scores: [tokens, experts] f32, overwritten; bias: [experts] f32 or null; ids: [tokens, active]
  // u32, active within the experts of the active groups; weights: [tokens, active] f32.
  void (*route)(const OpContext&, const Routing& routing, const View& scores, const View* bias,
                const View& ids, const View& weights);
  // x[rows[i]] += weights[i] * y[i]; product and sum are rounded to x's type. x, y: [any, n] of one
  // type; rows: [y's rows] u32, no two the same; weights: [y's rows] f32.
  void (*add_rows)(const OpContext&, const View& x, const View& rows, const View& weights,
                   const View& y);
  // out = parts[0] + ... + parts[count - 1], added in this order in f32 and rounded once; the same
  // bits in every instruction set. All contiguous and of out's type; out may be one of the parts.
  void (*sum)(const OpContext&, const void* const* parts, int count, const View& out);
  // y = silu of the sum over taps of weight * input, and bias: of every channel, over the token and
  // those before it in its sequence. The sum is rounded to y's type, and silu of it.
  void (*conv)(const OpContext&, const ConvArgs& args);
  // Token after token of a sequence, with step = softplus(dt + dt_bias): state = e^(a step) * state
  // + step * b * x; y = (sum over states of c * state + d * x) * silu(gate). The state is f32; dt +
  // dt_bias, step, silu, the state that c meets and their sum are rounded to y's type.
  void (*scan)(const OpContext&, const ScanArgs& args);
};

// The CPU's own kernels at the fastest instruction set of this machine;
// SHARDLINE_CPU_ISA=scalar|avx2| avx512|avx512_bf16 asks for another one (an unknown or unavailable
// name falls back to the fastest).
const Ops& CpuOps();
// One named instruction set, or null where this machine lacks it (tests, benchmarks).
const Ops* CpuOpsFor(std::string_view instruction_set);
// libtorch's operations behind the same table: the oracle, and what runs where a device has no
// kernel yet. Links with shardline_kernels_reference.
const Ops& ReferenceOps();

}  // namespace shardline
