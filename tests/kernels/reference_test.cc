// The CPU's kernels against libtorch's operations, through the same table and calls.
#include <gtest/gtest.h>

#include <string>

#include "tests/kernels/tensor.h"

namespace shardline {
namespace {

using testing::AllCpuOps;
using testing::HalfUlp;
using testing::kFloats;
using testing::Machine;
using testing::Tensor;
using testing::Weights;

// Both round: at most one unit in the last place apart, beside the error of the sums.
void ExpectClose(const Tensor& got, const Tensor& expected, double sums, const std::string& what) {
  for (int64_t i = 0; i < got.size(); ++i) {
    const double slack = sums + 2.02 * HalfUlp(got.type(), expected.Get(i));
    ASSERT_NEAR(got.Get(i), expected.Get(i), slack) << what << " at " << i;
  }
}

TEST(Reference, HasItsOwnTable) {
  EXPECT_EQ(ReferenceOps().name, "reference");
  EXPECT_EQ(ReferenceOps().scratch_bytes({}, 4), 0u);
}

TEST(Reference, Matmul) {
  Machine machine(2);
  for (DType type : kFloats) {
    for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 192, 576},
                                  {1, 576, 1536},
                                  {7, 65, 129},
                                  {64, 576, 576},
                                  {130, 100, 33}}) {
      for (bool biased : {false, true}) {
        Tensor x(type, {m, k}), w(type, {n, k}), bias(DType::kF32, {n}), expected(type, {m, n});
        x.Random(1), w.Random(2), bias.Random(3);
        const View* b = biased ? &bias.view() : nullptr;
        const Weights plain(ReferenceOps(), w, type);
        ReferenceOps().matmul(machine, x, plain.packed, b, expected);
        for (const Ops* ops : AllCpuOps()) {
          Tensor y(type, {m, n});
          ops->matmul(machine, x, Weights(*ops, w, type).packed, b, y);
          ExpectClose(y, expected, 1e-6 * static_cast<double>(k),
                      std::string(ops->instruction_set));
        }
      }
    }
  }
}

TEST(Reference, MatmulOfHeadsAndCopy) {
  Machine machine(2);
  for (DType type : kFloats) {
    constexpr int64_t kTokens = 9, kHeads = 3, kN = 33, kK = 40;
    Tensor x(type, {kTokens, kHeads, kK}), w(type, {kN, kK}), expected(type, {kTokens, kHeads, kN});
    x.Random(1), w.Random(2);
    const auto run = [&](const Ops& ops, const View& y) {
      const Weights weights(ops, w, type);
      const Packed packed[kHeads] = {weights.packed, weights.packed, weights.packed};
      ops.matmul_heads(machine, x, packed, y);
    };
    const auto copied = [&](const Ops& ops) {
      Tensor y(type, {kTokens, kHeads, kK});
      ops.copy(machine, x.view().Columns(3, 7), y.view().Columns(30, 7));
      return y;
    };
    run(ReferenceOps(), expected);
    for (const Ops* ops : AllCpuOps()) {
      Tensor y(expected);
      run(*ops, y);
      ExpectClose(y, expected, 1e-6 * kK, std::string(ops->instruction_set));
      const Tensor out = copied(*ops);
      EXPECT_TRUE(out.SameBits(copied(ReferenceOps())));
      EXPECT_EQ(out.Get(kK + 30), x.Get(kK + 3));
    }
  }
}

TEST(Reference, EmbedAndPack) {
  Machine machine;
  for (DType stored : kFloats) {
    for (DType type : kFloats) {
      Tensor table(stored, {40, 33}), expected(type, {3, 33});
      table.Random(1);
      std::vector<uint32_t> ids = {39, 0, 17};
      const View id = View::Contiguous(ids.data(), DType::kU32, {3});
      ReferenceOps().embed(machine, id, Weights(ReferenceOps(), table, type).packed, 2.5f,
                           expected);
      for (const Ops* ops : AllCpuOps()) {
        Tensor y(type, {3, 33});
        ops->embed(machine, id, Weights(*ops, table, type).packed, 2.5f, y);
        EXPECT_TRUE(y.SameBits(expected)) << ops->instruction_set;
      }
    }
  }
}

TEST(Reference, RowOperations) {
  Machine machine(2);
  for (DType type : kFloats) {
    Tensor x(type, {20, 576}), other(type, {20, 576}), weight(DType::kF32, {576});
    x.Random(1), other.Random(2), weight.Random(3);
    Tensor norm(x), norm_once(x), heads_once(x), silu(x), gelu(x), sum(x);
    const Norm twice{1e-5f}, once{1e-5f, NormRounding::kOnce};
    const View heads = x.view().SplitColumns(9, 64), head_weight = weight.view().Rows(0, 64);
    ReferenceOps().rms_norm(machine, x, weight, twice, norm);
    ReferenceOps().rms_norm(machine, x, weight, once, norm_once);
    ReferenceOps().rms_norm(machine, heads, head_weight, once,
                            heads_once.view().SplitColumns(9, 64));
    ReferenceOps().gated(machine, Activation::kSilu, x, other, silu);
    ReferenceOps().gated(machine, Activation::kGeluTanh, x, other, gelu);
    ReferenceOps().add(machine, sum, other);
    Tensor scaled(x), capped(x);
    ReferenceOps().scale(machine, scaled, 0.3f, 0);
    ReferenceOps().scale(machine, capped, 3.0f, 2.0f);
    for (const Ops* ops : AllCpuOps()) {
      Tensor y(x), expected(x);
      // The value before the second factor may round to either side.
      const double share = type == DType::kBF16 ? 1 : type == DType::kF16 ? 0.125 : 6e-5;
      ops->rms_norm(machine, x, weight, twice, y);
      ExpectClose(y, norm, 0.0625 * share, "rms_norm");
      ops->rms_norm(machine, x, weight, once, y);
      ExpectClose(y, norm_once, 4e-6, "rms_norm, rounded once");
      ops->rms_norm(machine, heads, head_weight, once, y.view().SplitColumns(9, 64));
      ExpectClose(y, heads_once, 4e-6, "rms_norm of heads");
      ops->gated(machine, Activation::kSilu, x, other, y);
      ExpectClose(y, silu, 0.04 * share, "silu");
      ops->gated(machine, Activation::kGeluTanh, x, other, y);
      ExpectClose(y, gelu, 0.04 * share, "gelu");
      const View all = weight;
      ReferenceOps().layer_norm(machine, heads, &all, &all, 1e-5f,
                                expected.view().SplitColumns(9, 64));
      ops->layer_norm(machine, heads, &all, &all, 1e-5f, y.view().SplitColumns(9, 64));
      ExpectClose(y, expected, 1e-5, "layer_norm of heads");
      for (Activation act : {Activation::kGelu, Activation::kRelu2}) {
        Tensor active(x), active_reference(x);
        ReferenceOps().activate(machine, act, active_reference);
        ops->activate(machine, act, active);
        ExpectClose(active, active_reference, 4e-6, "activate");
        ReferenceOps().gated(machine, act, x, other, active_reference);
        ops->gated(machine, act, x, other, active);
        ExpectClose(active, active_reference, 0.04 * share, "gated");
        ReferenceOps().clamp(machine, active_reference, 0.5f);
        ops->clamp(machine, active, 0.5f);
        ExpectClose(active, active_reference, 0.04 * share, "clamp");
      }
      Tensor in_place(x);
      ops->add(machine, in_place, other);
      EXPECT_TRUE(in_place.SameBits(sum)) << ops->instruction_set;
      Tensor half(x), cut(x);
      ops->scale(machine, half, 0.3f, 0);
      EXPECT_TRUE(half.SameBits(scaled)) << ops->instruction_set;
      ops->scale(machine, cut, 3.0f, 2.0f);
      ExpectClose(cut, capped, 4e-6, "scale and cap");
    }
  }
}

TEST(Reference, Experts) {
  Machine machine(2);
  const Routing routings[] = {
      {},
      {.renormalise = true},
      {.scoring = Scoring::kSigmoid, .renormalise = true, .epsilon = 1e-20f, .scale = 2.5f},
      {.scale = 16, .groups = 3, .active_groups = 2},
      {.scoring = Scoring::kSigmoid,
       .groups = 3,
       .active_groups = 2,
       .group_score = GroupScore::kSumOfTwoLargest},
      {.logits = DType::kBF16, .weights = DType::kBF16, .renormalise = true}};
  for (const Routing& routing : routings) {
    Tensor drawn(DType::kF32, {40, 12}), bias(DType::kF32, {12}), expected(DType::kF32, {40, 3});
    drawn.Random(1), bias.Random(2);
    const View bias_view = bias;
    const bool biased = routing.scoring == Scoring::kSigmoid;
    const auto route = [&](const Ops& ops, const View& weights) {
      Tensor scores(drawn);
      std::vector<uint32_t> ids(120);
      ops.route(machine, routing, scores, biased ? &bias_view : nullptr,
                View::Contiguous(ids.data(), DType::kU32, {40, 3}), weights);
      return ids;
    };
    const std::vector<uint32_t> wanted = route(ReferenceOps(), expected);
    for (const Ops* ops : AllCpuOps()) {
      Tensor weights(DType::kF32, {40, 3});
      EXPECT_EQ(route(*ops, weights), wanted);
      ExpectClose(weights, expected, routing.weights == DType::kF32 ? 4e-6 : 4e-3, "route");
    }
  }
  for (DType type : kFloats) {
    Tensor x(type, {10, 40}), y(type, {4, 40}), weights(DType::kF32, {4});
    x.Random(1), y.Random(2), weights.Random(3);
    std::vector<uint32_t> rows = {7, 0, 9, 4};
    const View row = View::Contiguous(rows.data(), DType::kU32, {4});
    Tensor expected(x);
    ReferenceOps().add_rows(machine, expected, row, weights, y);
    for (const Ops* ops : AllCpuOps()) {
      Tensor sum(x);
      ops->add_rows(machine, sum, row, weights, y);
      EXPECT_TRUE(sum.SameBits(expected)) << ops->instruction_set;
    }
  }
}

TEST(Reference, Sum) {
  Machine machine;
  for (DType type : {DType::kF32, DType::kBF16, DType::kF16}) {
    Tensor a(type, {3, 70}), b(type, {3, 70}), c(type, {3, 70});
    a.Random(1, 100.0f), b.Random(2), c.Random(3, 0.01f);
    const void* parts[] = {a.view().data, b.view().data, c.view().data};
    Tensor expected(type, {3, 70});
    ReferenceOps().sum(machine, parts, 3, expected);
    for (const Ops* ops : AllCpuOps()) {
      Tensor sum(type, {3, 70});
      ops->sum(machine, parts, 3, sum);
      EXPECT_TRUE(sum.SameBits(expected)) << ops->instruction_set << " " << NameOf(type);
    }
  }
}

TEST(Reference, Rope) {
  Machine machine;
  for (DType type : kFloats) {
    for (RopeStyle style : {RopeStyle::kHalf, RopeStyle::kInterleaved}) {
      Tensor x(type, {5, 3, 20}), cos(DType::kF32, {5, 8}), sin(cos);
      x.Random(1);
      for (int64_t i = 0; i < 40; ++i)
        cos.Set(i, std::cos(0.1f * i)), sin.Set(i, std::sin(0.1f * i));
      Tensor expected(x);
      ReferenceOps().rope(machine, expected, cos, sin, style);
      for (const Ops* ops : AllCpuOps()) {
        Tensor y(x);
        ops->rope(machine, y, cos, sin, style);
        EXPECT_TRUE(y.SameBits(expected)) << ops->instruction_set;
      }
    }
  }
}

// Three rows, of which one goes on: both round at the same places.
TEST(Reference, ConvolutionAndScan) {
  Machine machine(2);
  constexpr int64_t kTokens = 60, kChannels = 37, kStates = 20, kTaps = 4;
  for (DType type : kFloats) {
    Tensor x(type, {kTokens, kChannels}), dt(x), gate(x), b(type, {kTokens, kStates}), c(b);
    Tensor weight(DType::kF32, {kChannels * kTaps}), bias(DType::kF32, {kChannels}), d(bias),
        dt_bias(bias), a(DType::kF32, {kChannels, kStates});
    x.Random(1), dt.Random(2), gate.Random(3), b.Random(4), c.Random(5), weight.Random(6, 0.5f);
    bias.Random(7), d.Random(8), dt_bias.Random(9), a.Random(10);
    for (int64_t i = 0; i < a.size(); ++i) a.Set(i, -static_cast<float>(std::exp(a.Get(i) - 1)));
    const std::vector<int32_t> blocks = {2, 0, 1};
    const std::vector<AttentionRow> rows = {
        {0, 1, 0, &blocks[0]}, {1, 49, 7, &blocks[1]}, {50, 10, 0, &blocks[2]}};
    struct Result {
      Tensor inputs, state, mixed, y;
    };
    const auto run = [&](const Ops& ops) {
      Result out{.inputs = Tensor(type, {3, kTaps - 1, kChannels}),
                 .state = Tensor(DType::kF32, {3, kStates, kChannels}),
                 .mixed = Tensor(type, {kTokens, kChannels}),
                 .y = Tensor(type, {kTokens, kChannels})};
      out.inputs.Random(11), out.state.Random(12);
      ops.conv(machine, {.x = x,
                         .weight = weight,
                         .bias = &bias.view(),
                         .taps = kTaps,
                         .state = out.inputs,
                         .rows = rows.data(),
                         .row_count = 3,
                         .y = out.mixed});
      ops.scan(machine, {.x = x,  // the same for both, so that one rounding does not become many
                         .dt = dt,
                         .gate = gate,
                         .b = b,
                         .c = c,
                         .a = a,
                         .d = d,
                         .dt_bias = dt_bias,
                         .state = out.state,
                         .rows = rows.data(),
                         .row_count = 3,
                         .y = out.y});
      return out;
    };
    const Result expected = run(ReferenceOps());
    // Steps and readings are rounded before they are multiplied and summed.
    const double share = type == DType::kBF16 ? 1 : type == DType::kF16 ? 0.125 : 1e-4;
    for (const Ops* ops : AllCpuOps()) {
      const Result out = run(*ops);
      EXPECT_TRUE(out.inputs.SameBits(expected.inputs)) << ops->instruction_set;
      ExpectClose(out.mixed, expected.mixed, 0.04 * share, "conv");
      ExpectClose(out.state, expected.state, 0.1 * share, "state");
      ExpectClose(out.y, expected.y, 0.3 * share, "scan");
    }
  }
}

TEST(Reference, PagedAttention) {
  Machine machine(2);
  for (DType type : kFloats) {
    for (DType cache : kFloats) {
      constexpr int64_t kTokens = 300, kHeads = 6, kKvHeads = 2, kHeadDim = 24, kBlock = 16,
                        kShared = 10;
      Tensor q(type, {kTokens, kHeads, kHeadDim}), k(type, {kTokens, kKvHeads, kHeadDim}), v(k);
      q.Random(1), k.Random(2), v.Random(3);
      std::vector<int32_t> blocks(19);
      for (int i = 0; i < 19; ++i) blocks[i] = (i * 7 + 3) % 19;
      std::vector<int64_t> slots(kTokens);
      for (int64_t p = 0; p < kTokens; ++p) slots[p] = blocks[p / kBlock] * kBlock + p % kBlock;
      const View slot = View::Contiguous(slots.data(), DType::kI64, {kTokens});
      const AttentionRow row{
          .first_token = 0, .token_count = kTokens, .first_position = 0, .blocks = blocks.data()};
      const float slopes[kHeads] = {0.5f, 0.25f, 0.125f, 0.0625f, 0.75f, 0.01f};
      // With biases where the window is 20 or 300, and values within the keys where it is 301.
      for (const int64_t window : {0, 1, 20, 300, 301}) {
        const bool shared = window == 301;
        Tensor expected(type, {kTokens, kHeads, shared ? kShared : kHeadDim});
        const auto run = [&](const Ops& ops, const View& out) {
          Tensor kp(cache, {19, kKvHeads, kBlock, kHeadDim}), vp(kp);
          const KvPages pages{.k = kp, .v = shared ? kp.view().Columns(0, kShared) : vp.view()};
          ops.kv_write(machine, k, shared ? View{} : v.view(), slot, pages);
          ops.attention(machine, {.q = q,
                                  .out = out,
                                  .pages = pages,
                                  .rows = &row,
                                  .row_count = 1,
                                  .scale = 0.2f,
                                  .window = window,
                                  .score_cap = window == 20 ? 1.5f : 0.0f,
                                  .alibi = {.slopes = window > 20 ? slopes : nullptr,
                                            .scale = 0.5f,
                                            .rounded = window == 300}});
          return std::pair(kp, vp);
        };
        const auto reference_pages = run(ReferenceOps(), expected);
        for (const Ops* ops : AllCpuOps()) {
          Tensor out(expected);
          const auto pages = run(*ops, out);
          EXPECT_TRUE(pages.first.SameBits(reference_pages.first));
          EXPECT_TRUE(pages.second.SameBits(reference_pages.second));
          ExpectClose(out, expected, 2e-5, std::string(ops->instruction_set));
        }
      }
    }
  }
}

}  // namespace
}  // namespace shardline
