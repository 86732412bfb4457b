// The sequential parts of Mamba: a short causal convolution and a selective scan (Gu & Dao 2023,
// arXiv:2312.00752). Lanes are channels, so a channel's sums run over taps and states in one order,
// token after token, wherever a chunk begins.
#include "kernels/cpu/isa/exp.h"
#include "kernels/cpu/isa/kernels.h"

namespace shardline::SHARDLINE_ISA {
namespace {

constexpr int64_t kLanes = kChannelsPerBlock;

SL_INLINE float Silu(float x) { return x / (1.0f + Exp(-x)); }

// The first `n` of sixteen lanes; the others become zero.
template <typename T>
SL_INLINE void Widen(const T* from, int64_t n, float* to) {
  if (n == kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) to[j] = ToFloat(from[j]);
    return;
  }
  for (int64_t j = 0; j < kLanes; ++j) to[j] = j < n ? ToFloat(from[j]) : 0.0f;
}
template <typename T>
SL_INLINE void Narrow(const float* from, int64_t n, T* to) {
  if (n == kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) Put(to + j, from[j]);
    return;
  }
  for (int64_t j = 0; j < n; ++j) Put(to + j, from[j]);
}

// The first `n` channels of rows of T, which are `stride` apart.
template <typename T>
struct Channels {
  T* data;
  int64_t stride, n;

  SL_INLINE void Read(int64_t row, float* to) const { Widen(data + row * stride, n, to); }
  SL_INLINE void Write(int64_t row, const float* from) const {
    Narrow(from, n, data + row * stride);
  }
};

// Channels [first, first + n) of a row's tokens, and of its sequence's block of state.
template <typename T>
Channels<T> TokensOf(const View& view, const AttentionRow& row, int64_t first, int64_t n) {
  return {RowOf<T>(view, row.first_token) + first, view.stride[0], n};
}
template <typename T>
Channels<T> StateOf(const View& state, const AttentionRow& row, int64_t first, int64_t n) {
  return {RowOf<T>(state, row.blocks[0]) + first, state.stride[1], n};
}

// [channels, k] -> [k][lanes], zeros beyond.
void Transpose(const View& matrix, int64_t first, int64_t n, int64_t k, float* to) {
  const auto* from = static_cast<const float*>(matrix.data) + first * k;
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < kLanes; ++j) to[i * kLanes + j] = j < n ? from[j * k + i] : 0.0f;
  }
}

void ReadVector(const View* vector, int64_t first, int64_t n, float* to) {
  for (int64_t j = 0; j < kLanes; ++j) to[j] = 0.0f;
  if (vector != nullptr) Widen(static_cast<const float*>(vector->data) + first, n, to);
}

// One row of a block of channels.
template <typename T>
void ConvRow(const ConvArgs& args, const AttentionRow& row, int64_t first, int64_t n,
             const float* weight, const float* bias) {
  const int64_t before = args.taps - 1;
  const auto x = TokensOf<const T>(args.x, row, first, n);
  const auto y = TokensOf<T>(args.y, row, first, n);
  const auto state = StateOf<T>(args.state, row, first, n);
  alignas(64) float window[kMostTaps * kLanes], sum[kLanes];  // the inputs that a token sees
  for (int64_t i = 0; i < before; ++i) {
    if (row.first_position > 0) {
      state.Read(i, window + i * kLanes);
    } else {
      for (int64_t j = 0; j < kLanes; ++j) window[i * kLanes + j] = 0.0f;
    }
  }
  for (int64_t t = 0; t < row.token_count; ++t) {
    x.Read(t, window + before * kLanes);
    for (int64_t j = 0; j < kLanes; ++j) sum[j] = bias[j];
    for (int64_t i = 0; i <= before; ++i) {
      for (int64_t j = 0; j < kLanes; ++j) {
        sum[j] = MulAdd(window[i * kLanes + j], weight[i * kLanes + j], sum[j]);
      }
    }
    for (int64_t j = 0; j < kLanes; ++j) sum[j] = Silu(Rounded<T>(sum[j]));
    y.Write(t, sum);
    for (int64_t i = 0; i < before * kLanes; ++i) window[i] = window[i + kLanes];
  }
  for (int64_t i = 0; i < before; ++i) state.Write(i, window + i * kLanes);
}

template <typename T>
void ConvBlock(const ConvArgs& args, int64_t first, int64_t n) {
  alignas(64) float weight[kMostTaps * kLanes], bias[kLanes];
  Transpose(args.weight, first, n, args.taps, weight);
  ReadVector(args.bias, first, n, bias);
  for (int32_t r = 0; r < args.row_count; ++r) {
    ConvRow<T>(args, args.rows[r], first, n, weight, bias);
  }
}

// What a block of channels multiplies with, whatever the sequence.
struct ScanWeights {
  alignas(64) float a[kMostStates * kLanes];
  alignas(64) float skip[kLanes];
  alignas(64) float dt_bias[kLanes];
};

template <typename T>
void ScanRow(const ScanArgs& args, const AttentionRow& row, int64_t first, int64_t n,
             const ScanWeights& weights) {
  const int64_t states = args.a.shape[1];
  const auto x = TokensOf<const T>(args.x, row, first, n);
  const auto steps = TokensOf<const T>(args.dt, row, first, n);
  const auto gates = TokensOf<const T>(args.gate, row, first, n);
  const auto y = TokensOf<T>(args.y, row, first, n);
  const auto state = StateOf<float>(args.state, row, first, n);
  alignas(64) float h[kMostStates * kLanes], in[kLanes], dt[kLanes], out[kLanes], gate[kLanes];
  for (int64_t k = 0; k < states; ++k) {
    if (row.first_position > 0) {
      state.Read(k, h + k * kLanes);
    } else {
      for (int64_t j = 0; j < kLanes; ++j) h[k * kLanes + j] = 0.0f;
    }
  }
  for (int64_t t = 0; t < row.token_count; ++t) {
    const T* b = RowOf<const T>(args.b, row.first_token + t);
    const T* c = RowOf<const T>(args.c, row.first_token + t);
    x.Read(t, in);
    steps.Read(t, dt);
    gates.Read(t, gate);
    for (int64_t j = 0; j < kLanes; ++j) {
      dt[j] = Rounded<T>(Softplus(Rounded<T>(dt[j] + weights.dt_bias[j])));
      out[j] = 0.0f;
    }
    for (int64_t k = 0; k < states; ++k) {
      const float bk = ToFloat(b[k]), ck = ToFloat(c[k]);
      float* hk = h + k * kLanes;
      const float* ak = weights.a + k * kLanes;
      for (int64_t j = 0; j < kLanes; ++j) {
        hk[j] = MulAdd(Exp(ak[j] * dt[j]), hk[j], dt[j] * bk * in[j]);
        out[j] = MulAdd(Rounded<T>(hk[j]), ck, out[j]);
      }
    }
    for (int64_t j = 0; j < kLanes; ++j) {
      out[j] = (Rounded<T>(out[j]) + in[j] * weights.skip[j]) * Rounded<T>(Silu(gate[j]));
    }
    y.Write(t, out);
  }
  for (int64_t k = 0; k < states; ++k) state.Write(k, h + k * kLanes);
}

template <typename T>
void ScanBlock(const ScanArgs& args, int64_t first, int64_t n) {
  ScanWeights weights;
  Transpose(args.a, first, n, args.a.shape[1], weights.a);
  ReadVector(&args.d, first, n, weights.skip);
  ReadVector(&args.dt_bias, first, n, weights.dt_bias);
  for (int32_t r = 0; r < args.row_count; ++r) ScanRow<T>(args, args.rows[r], first, n, weights);
}

}  // namespace

void Conv(const ConvArgs& args, int64_t begin, int64_t end) {
  const int64_t channels = args.y.shape[1];
  for (int64_t first = begin * kLanes; first < Least(channels, end * kLanes); first += kLanes) {
    SL_FOR_FLOAT_TYPE(args.y.type, T, ConvBlock<T>(args, first, Least(kLanes, channels - first)));
  }
}

void Scan(const ScanArgs& args, int64_t begin, int64_t end) {
  const int64_t channels = args.y.shape[1];
  for (int64_t first = begin * kLanes; first < Least(channels, end * kLanes); first += kLanes) {
    SL_FOR_FLOAT_TYPE(args.y.type, T, ScanBlock<T>(args, first, Least(kLanes, channels - first)));
  }
}

}  // namespace shardline::SHARDLINE_ISA
