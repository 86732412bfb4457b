// The table of operations made of libtorch's: the oracle of every kernel, and what a device runs
// where it has no kernel of its own yet. Written to be read: it allocates, and is not
// row-invariant.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cstring>
#include <limits>

#include "kernels/ops.h"
#include "kernels/reference/tensor.h"

namespace shardline {
namespace {

using reference::TensorOf;
using reference::TorchType;

at::Tensor F32(const at::Tensor& x) { return x.to(at::kFloat); }

size_t ScratchBytes(const ScratchLimits&, int) { return 0; }

// Packed weights are plain [n, k].
size_t PackedBytes(DType type, int64_t n, int64_t k) {
  return static_cast<size_t>(n * k) * SizeOf(type);
}

at::Tensor TensorOf(const Packed& w) {
  return TensorOf(View::Contiguous(w.data, w.type, {w.rows, w.cols}));
}

void Pack(const View& w, DType type, void* memory, Packed* out) {
  const c10::InferenceMode guard;
  *out = {.data = memory,
          .type = type,
          .rows = w.shape[0],
          .cols = w.shape[1],
          .bytes = PackedBytes(type, w.shape[0], w.shape[1])};
  TensorOf(*out).copy_(TensorOf(w));
}

// Summed in f64 and rounded to f32: libtorch's order of sums is another on each kind of processor,
// and an oracle's numbers should not be.
at::Tensor Products(const at::Tensor& x, const at::Tensor& w) {
  return F32(at::linear(x.to(at::kDouble), w.to(at::kDouble)));
}

void Matmul(const OpContext&, const View& x, const Packed& w, const View* bias, const View& y) {
  const c10::InferenceMode guard;
  const at::Tensor sum = Products(TensorOf(x), TensorOf(w));
  TensorOf(y).copy_(bias ? sum + TensorOf(*bias) : sum);
}

void MatmulHeads(const OpContext&, const View& x, const Packed* w, const View& y) {
  const c10::InferenceMode guard;
  const at::Tensor in = TensorOf(x), out = TensorOf(y);
  for (int64_t i = 0; i < x.shape[1]; ++i) {
    out.select(1, i).copy_(Products(in.select(1, i), TensorOf(w[i])));
  }
}

void Copy(const OpContext&, const View& x, const View& y) {
  const c10::InferenceMode guard;
  TensorOf(y).copy_(TensorOf(x));
}

void Embed(const OpContext&, const View& ids, const Packed& table, float scale, const View& y) {
  const c10::InferenceMode guard;
  const at::Tensor row = TensorOf(ids).to(at::kLong);  // those past 2^31 are negative
  const at::Tensor has = row.ge(0).logical_and(row.lt(table.rows));
  const at::Tensor rows = F32(TensorOf(table).index_select(0, row.where(has, 0))) * scale;
  TensorOf(y).copy_(rows.where(has.unsqueeze(1), 0));
}

void RmsNorm(const OpContext&, const View& x, const View& weight, Norm norm, const View& y) {
  const c10::InferenceMode guard;
  at::Tensor in = F32(TensorOf(x));
  if (norm.rounding == NormRounding::kTwice) in = F32(in.to(TorchType(y.type)));
  at::Tensor normal = in * at::rsqrt(in.square().mean(-1, true) + norm.eps);
  if (norm.rounding == NormRounding::kTwice) normal = F32(normal.to(TorchType(y.type)));
  TensorOf(y).copy_(normal * TensorOf(weight));
}

void Rope(const OpContext&, const View& x, const View& cos, const View& sin, RopeStyle style) {
  const c10::InferenceMode guard;
  const int64_t half = cos.shape[1];
  at::Tensor all = TensorOf(x);  // [tokens, heads, head_dim]
  const bool halves = style == RopeStyle::kHalf;
  at::Tensor a = halves ? all.slice(2, 0, half) : all.slice(2, 0, 2 * half, 2);
  at::Tensor b = halves ? all.slice(2, half, 2 * half) : all.slice(2, 1, 2 * half, 2);
  const at::Tensor a0 = F32(a).clone(), b0 = F32(b).clone();
  const at::Tensor c = TensorOf(cos).unsqueeze(1), s = TensorOf(sin).unsqueeze(1);
  a.copy_(a0 * c - b0 * s);
  b.copy_(b0 * c + a0 * s);
}

void KvWrite(const OpContext&, const View& k, const View& v, const View& slots,
             const KvPages& pages) {
  const c10::InferenceMode guard;
  const at::Tensor slot = TensorOf(slots);
  const int64_t block_tokens = pages.k.shape[2];
  const at::Tensor block = slot.div(block_tokens, "floor"), offset = slot.remainder(block_tokens);
  const auto store = [&](const View& from, const View& to) {
    at::Tensor target =
        TensorOf(to).permute({0, 2, 1, 3});  // [blocks, block_tokens, kv_heads, head_dim]
    target.index_put_({block, offset}, TensorOf(from).to(TorchType(to.type)));
  };
  store(k, pages.k);
  if (v.data != nullptr) store(v, pages.v);
}

// Positions [begin, end) of a block table's sequence: [kv_heads, end - begin, head_dim] f32.
at::Tensor Gather(const View& pages, const AttentionRow& row, int64_t begin, int64_t end) {
  const int64_t size = pages.shape[2], first = begin / size;
  const int64_t blocks = (end + size - 1) / size - first;
  const at::Tensor table = at::from_blob(const_cast<int32_t*>(row.blocks + first), {blocks},
                                         at::TensorOptions(at::kInt));
  const at::Tensor chosen = TensorOf(pages).index_select(0, table).permute({1, 0, 2, 3});
  return F32(chosen.reshape({pages.shape[1], blocks * size, pages.shape[3]})
                 .slice(1, begin - first * size, end - first * size));
}

// What ALiBi adds to the scores: [heads, tokens, end - begin].
at::Tensor Bias(const AttentionArgs& args, const AttentionRow& row, int64_t begin, int64_t end) {
  const at::Tensor slopes = at::from_blob(const_cast<float*>(args.alibi.slopes),
                                          {args.q.shape[1], 1, 1}, at::TensorOptions(at::kFloat));
  const at::Tensor keys = at::arange(begin, end, at::kFloat);
  const at::Tensor queries =
      at::arange(row.first_position, row.first_position + row.token_count, at::kFloat).unsqueeze(1);
  if (!args.alibi.rounded) return slopes * (keys - queries) * args.alibi.scale;
  const auto rounded = [&](const at::Tensor& positions) {
    return F32((slopes * F32(positions.to(at::kBFloat16))).to(at::kBFloat16));
  };
  return (rounded(keys) - rounded(queries)) * args.alibi.scale;
}

void Attention(const OpContext&, const AttentionArgs& args) {
  const c10::InferenceMode guard;
  const int64_t group = args.q.shape[1] / args.pages.k.shape[1];
  for (int32_t r = 0; r < args.row_count; ++r) {
    const AttentionRow& row = args.rows[r];
    const int64_t end = row.first_position + row.token_count;
    const int64_t window = args.window > 0 ? args.window : end;
    const int64_t begin = std::max<int64_t>(0, row.first_position - window + 1);
    const at::Tensor q =
        F32(TensorOf(args.q.Rows(row.first_token, row.token_count))).transpose(0, 1);
    const at::Tensor k = Gather(args.pages.k, row, begin, end).repeat_interleave(group, 0);
    const at::Tensor v = Gather(args.pages.v, row, begin, end).repeat_interleave(group, 0);
    at::Tensor scores =
        at::matmul(q, k.transpose(1, 2)) * args.scale;  // [heads, tokens, end - begin]
    if (args.score_cap > 0) scores = at::tanh(scores / args.score_cap) * args.score_cap;
    if (args.alibi.slopes != nullptr) scores += Bias(args, row, begin, end);
    const at::Tensor ones = at::ones({row.token_count, end - begin}, at::kBool);
    const int64_t own = row.first_position - begin;  // the first token's column
    const at::Tensor unseen = ones.triu(own + 1).logical_or(ones.tril(own - window));
    scores.masked_fill_(unseen, -std::numeric_limits<float>::infinity());
    const at::Tensor out = at::matmul(at::softmax(scores, -1), v).transpose(0, 1);
    TensorOf(args.out.Rows(row.first_token, row.token_count)).copy_(out);
  }
}

at::Tensor Activated(Activation act, const at::Tensor& x) {
  switch (act) {
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kRelu2:
      return at::relu(x).square();
  }
  return x;
}

void Gated(const OpContext&, Activation act, const View& gate, const View& up, const View& y) {
  const c10::InferenceMode guard;
  TensorOf(y).copy_(Activated(act, TensorOf(gate)) * TensorOf(up));
}

void Activate(const OpContext&, Activation act, const View& x) {
  const c10::InferenceMode guard;
  at::Tensor all = TensorOf(x);
  all.copy_(Activated(act, F32(all)));
}

void Clamp(const OpContext&, const View& x, float limit) {
  const c10::InferenceMode guard;
  TensorOf(x).clamp_(-limit, limit);
}

void Add(const OpContext&, const View& x, const View& y) {
  const c10::InferenceMode guard;
  at::Tensor sum = TensorOf(x);
  sum.copy_(F32(sum) + F32(TensorOf(y)));
}

void Scale(const OpContext&, const View& x, float factor, float cap) {
  const c10::InferenceMode guard;
  const at::Tensor scaled = F32(TensorOf(x)) * factor;
  TensorOf(x).copy_(cap > 0 ? at::tanh(scaled / cap) * cap : scaled);
}

// The shape of a weight or a bias that goes with heads of `n`: the same for all, or one for each.
at::Tensor ForHeads(const View& vector, int64_t n) {
  const at::Tensor all = TensorOf(vector);
  return vector.shape[0] > n ? all.view({-1, n}) : all;
}

void LayerNorm(const OpContext&, const View& x, const View* weight, const View* bias, float eps,
               const View& y) {
  const c10::InferenceMode guard;
  const int64_t n = x.shape[x.rank - 1];
  at::Tensor normal = at::layer_norm(F32(TensorOf(x)), {n}, {}, {}, eps);
  if (weight != nullptr) normal = normal * ForHeads(*weight, n);
  if (bias != nullptr) normal = normal + ForHeads(*bias, n);
  TensorOf(y).copy_(normal);
}

// The `count` largest of every row: ones where they stand, zeros elsewhere; of equals the first.
std::pair<at::Tensor, at::Tensor> Largest(const at::Tensor& x, int64_t count) {
  const auto [sorted, index] = x.sort(/*stable=*/true, /*dim=*/-1, /*descending=*/true);
  const at::Tensor chosen = index.slice(1, 0, count);
  return {chosen, at::zeros_like(x).scatter_(1, chosen, 1)};
}

void Route(const OpContext&, const Routing& routing, const View& scores, const View* bias,
           const View& ids, const View& weights) {
  const c10::InferenceMode guard;
  const int64_t tokens = scores.shape[0], experts = scores.shape[1];
  const at::Tensor logits = F32(TensorOf(scores).to(TorchType(routing.logits)));
  const at::Tensor all =
      routing.scoring == Scoring::kSoftmax ? at::softmax(logits, -1) : at::sigmoid(logits);
  at::Tensor keys = bias != nullptr ? all + TensorOf(*bias) : all;
  const at::Tensor grouped = keys.view({tokens, routing.groups, -1});
  const at::Tensor of_groups = routing.group_score == GroupScore::kLargest
                                   ? grouped.amax(-1)
                                   : std::get<0>(grouped.topk(2, -1)).sum(-1);
  const at::Tensor open = Largest(of_groups, routing.active_groups)
                              .second.repeat_interleave(experts / routing.groups, 1);
  keys = keys.masked_fill(open == 0, -std::numeric_limits<float>::infinity());
  const at::Tensor index = Largest(keys, ids.shape[1]).first;
  at::Tensor chosen = all.gather(1, index);
  if (routing.renormalise) {
    chosen = chosen / (chosen.sum(-1, /*keepdim=*/true) + routing.epsilon);
  }
  TensorOf(weights).copy_(F32(chosen.to(TorchType(routing.weights))) * routing.scale);
  const at::Tensor first = index.to(at::kInt).contiguous();
  std::memcpy(ids.data, first.data_ptr(), ids.bytes());
}

void AddRows(const OpContext&, const View& x, const View& rows, const View& weights,
             const View& y) {
  const c10::InferenceMode guard;
  const at::Tensor factor = TensorOf(weights).unsqueeze(1);
  const at::Tensor added = F32((F32(TensorOf(y)) * factor).to(TorchType(x.type)));
  for (int64_t i = 0; i < y.shape[0]; ++i) {
    at::Tensor row = TensorOf(x.Rows(rows.as<uint32_t>()[i], 1));
    row.copy_(F32(row) + added[i]);
  }
}

void Sum(const OpContext&, const void* const* parts, int count, const View& out) {
  const c10::InferenceMode guard;
  View part = out;
  part.data = const_cast<void*>(parts[0]);
  at::Tensor sum = F32(TensorOf(part)).clone();
  for (int p = 1; p < count; ++p) {
    part.data = const_cast<void*>(parts[p]);
    sum.add_(F32(TensorOf(part)));
  }
  TensorOf(out).copy_(sum);
}

// The block of a row's sequence: [., channels] f32, zeros at position 0.
at::Tensor StateOf(const View& state, const AttentionRow& row) {
  const at::Tensor stored = TensorOf(state)[row.blocks[0]];
  return row.first_position > 0 ? F32(stored) : at::zeros_like(stored, at::kFloat);
}

at::Tensor RowsOf(const View& view, const AttentionRow& row) {
  return F32(TensorOf(view.Rows(row.first_token, row.token_count)));
}

void Conv(const OpContext&, const ConvArgs& args) {
  const c10::InferenceMode guard;
  const int64_t channels = args.x.shape[1], before = args.taps - 1;
  const at::Tensor weight = TensorOf(args.weight).view({channels, 1, args.taps});
  const std::optional<at::Tensor> bias =
      args.bias ? std::optional(TensorOf(*args.bias)) : std::nullopt;
  for (int32_t r = 0; r < args.row_count; ++r) {
    const AttentionRow& row = args.rows[r];
    const at::Tensor inputs = at::cat({StateOf(args.state, row), RowsOf(args.x, row)});
    const at::Tensor sum = at::conv1d(inputs.t().unsqueeze(0), weight, bias, at::IntArrayRef{1},
                                      at::IntArrayRef{0}, at::IntArrayRef{1}, channels)
                               .squeeze(0)
                               .t();
    TensorOf(args.y.Rows(row.first_token, row.token_count))
        .copy_(at::silu(F32(sum.to(TorchType(args.y.type)))));
    TensorOf(args.state)[row.blocks[0]].copy_(inputs.slice(0, inputs.size(0) - before));
  }
}

void Scan(const OpContext&, const ScanArgs& args) {
  const c10::InferenceMode guard;
  const auto rounded = [&](const at::Tensor& x) { return F32(x.to(TorchType(args.y.type))); };
  const at::Tensor a = TensorOf(args.a).t();  // [states, channels]
  for (int32_t r = 0; r < args.row_count; ++r) {
    const AttentionRow& row = args.rows[r];
    const at::Tensor x = RowsOf(args.x, row), b = RowsOf(args.b, row), c = RowsOf(args.c, row);
    const at::Tensor dt =
        rounded(at::softplus(rounded(RowsOf(args.dt, row) + TensorOf(args.dt_bias))));
    const at::Tensor gate = rounded(at::silu(RowsOf(args.gate, row)));
    at::Tensor state = StateOf(args.state, row), y = at::empty_like(x);
    for (int64_t t = 0; t < row.token_count; ++t) {
      state = at::exp(a * dt[t]) * state + dt[t] * b[t].unsqueeze(1) * x[t];
      y[t].copy_(rounded(at::matmul(c[t], rounded(state))));
    }
    y = (y + x * TensorOf(args.d)) * gate;
    TensorOf(args.y.Rows(row.first_token, row.token_count)).copy_(y);
    TensorOf(args.state)[row.blocks[0]].copy_(state);
  }
}

constexpr Ops kReferenceOps = {.name = "reference",
                               .instruction_set = "libtorch",
                               .scratch_bytes = ScratchBytes,
                               .packed_bytes = PackedBytes,
                               .pack = Pack,
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

}  // namespace

const Ops& ReferenceOps() { return kReferenceOps; }

}  // namespace shardline
