#include "worker/plan/dry_ops.h"

#include <algorithm>
#include <cassert>

namespace shardline {
namespace {

thread_local Work* counted = nullptr;

uint64_t Bytes(int64_t elements, DType type) { return elements * SizeOf(type); }

// However many rows it is used for.
void CountVector(const View* weight) {
  if (weight != nullptr) counted->weight_bytes += weight->bytes();
}

void Matmul(const OpContext&, const View& x, const Packed& w, const View* bias, const View&) {
  counted->flops += 2.0 * x.shape[0] * w.rows * w.cols;
  counted->weight_bytes += w.bytes;
  CountVector(bias);
}

void MatmulHeads(const OpContext&, const View& x, const Packed* w, const View&) {
  for (int64_t h = 0; h < x.shape[1]; ++h) {
    counted->flops += 2.0 * x.shape[0] * w[h].rows * w[h].cols;
    counted->weight_bytes += w[h].bytes;
  }
}

void Embed(const OpContext&, const View& ids, const Packed& table, float, const View&) {
  counted->weight_bytes += Bytes(ids.shape[0] * table.cols, table.type);
}

void RmsNorm(const OpContext&, const View&, const View& weight, Norm, const View&) {
  CountVector(&weight);
}
void LayerNorm(const OpContext&, const View&, const View* weight, const View* bias, float,
               const View&) {
  CountVector(weight);
  CountVector(bias);
}

// Every row's keys and values are read once.
void Attention(const OpContext&, const AttentionArgs& args) {
  const View &k = args.pages.k, &v = args.pages.v;
  const int64_t kv_heads = k.shape[1], key_dim = k.shape[3], value_dim = v.shape[3];
  const int64_t row_dim = v.data == k.data ? key_dim : key_dim + value_dim;
  for (int32_t r = 0; r < args.row_count; ++r) {
    const AttentionRow& row = args.rows[r];
    const auto first_seen = [&](int64_t position) {
      return args.window > 0 ? std::max<int64_t>(0, position - args.window + 1) : 0;
    };
    const int64_t end = int64_t{row.first_position} + row.token_count;
    for (int64_t p = row.first_position; p < end; ++p) {
      counted->flops += 2.0 * args.q.shape[1] * (key_dim + value_dim) * (p + 1 - first_seen(p));
    }
    counted->state_bytes +=
        Bytes((end - first_seen(row.first_position)) * kv_heads * row_dim, k.type);
  }
}

void Route(const OpContext&, const Routing&, const View& scores, const View* bias, const View& ids,
           const View& weights) {
  for (int64_t i = 0; i < ids.elements(); ++i) {
    ids.as<uint32_t>()[i] = static_cast<uint32_t>(i % scores.shape[1]);
    weights.as<float>()[i] = 1;
  }
  CountVector(bias);
}

// Of one part of a recurrent layer's state, for every sequence.
void CountState(const View& state, int32_t rows) {
  counted->state_bytes += 2 * rows * Bytes(state.shape[1] * state.shape[2], state.type);
}
void Conv(const OpContext&, const ConvArgs& args) {
  counted->flops += 2.0 * args.x.shape[0] * args.x.shape[1] * args.taps;
  CountVector(&args.weight);
  CountVector(args.bias);
  CountState(args.state, args.row_count);
}
// Of each state: a times dt, its exponential, that times the state, x times b, their sum, that
// times c, and the sum over states.
void Scan(const OpContext&, const ScanArgs& args) {
  counted->flops += 7.0 * args.x.shape[0] * args.x.shape[1] * args.b.shape[1];
  for (const View* weight : {&args.a, &args.d, &args.dt_bias}) CountVector(weight);
  CountState(args.state, args.row_count);
}

}  // namespace

const Ops& DryOps() {
  static const Ops kOps{
      .name = "dry",
      .instruction_set = "avx512_bf16",  // what --dtype=auto means is not this machine's affair
      .scratch_bytes = CpuOpsFor("scalar")->scratch_bytes,
      .packed_bytes = CpuOpsFor("scalar")->packed_bytes,
      .pack = [](const View&, DType, void*, Packed*) {},
      .matmul = Matmul,
      .matmul_heads = MatmulHeads,
      .copy = [](const OpContext&, const View&, const View&) {},
      .embed = Embed,
      .rms_norm = RmsNorm,
      .rope = [](const OpContext&, const View&, const View&, const View&, RopeStyle) {},
      .kv_write = [](const OpContext&, const View&, const View&, const View&, const KvPages&) {},
      .attention = Attention,
      .gated = [](const OpContext&, Activation, const View&, const View&, const View&) {},
      .add = [](const OpContext&, const View&, const View&) {},
      .scale = [](const OpContext&, const View&, float, float) {},
      .layer_norm = LayerNorm,
      .activate = [](const OpContext&, Activation, const View&) {},
      .clamp = [](const OpContext&, const View&, float) {},
      .route = Route,
      .add_rows = [](const OpContext&, const View&, const View&, const View&, const View&) {},
      .sum = [](const OpContext&, const void* const*, int, const View&) {},
      .conv = Conv,
      .scan = Scan};
  return kOps;
}

WorkCount::WorkCount(Work& work) {
  assert(counted == nullptr);
  counted = &work;
}
WorkCount::~WorkCount() { counted = nullptr; }

}  // namespace shardline
