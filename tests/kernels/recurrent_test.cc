// Convolution and selective scan: right to their rounding, and the same bits however a sequence is
// cut into rows, whoever is beside it, on any number of threads.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/kernels/tensor.h"

namespace shardline {
namespace {

using testing::AllCpuOps;
using testing::kFloats;
using testing::Machine;
using testing::Tensor;

constexpr int32_t kBlocks = 3;

struct Sizes {
  int64_t channels, states, taps;
};
constexpr Sizes kSizes[] = {{1, 1, 2}, {15, 16, 4}, {37, 20, 3}, {512, 16, 4}};

// One layer's inputs for `tokens` tokens, wider than the channels as products leave them.
struct Inputs {
  Inputs(DType type, const Sizes& s, int64_t tokens)
      : sizes(s),
        both(type, {tokens, 2 * s.channels}),
        select(type, {tokens, 2 * s.states + 3}),
        dt(type, {tokens, s.channels}),
        weight(DType::kF32, {s.channels * s.taps}),
        bias(DType::kF32, {s.channels}),
        a(DType::kF32, {s.channels, s.states}),
        d(bias),
        dt_bias(bias) {
    both.Random(1), select.Random(2), dt.Random(3), weight.Random(4), bias.Random(5);
    a.Random(6), d.Random(7), dt_bias.Random(8);
    for (int64_t i = 0; i < a.size(); ++i) a.Set(i, -static_cast<float>(std::exp(a.Get(i))));
  }
  int64_t tokens() const { return both.view().shape[0]; }
  View x() const { return both.view().Columns(0, sizes.channels); }
  View gate() const { return both.view().Columns(sizes.channels, sizes.channels); }
  View b() const { return select.view().Columns(3, sizes.states); }
  View c() const { return select.view().Columns(3 + sizes.states, sizes.states); }

  Sizes sizes;
  Tensor both, select, dt, weight, bias, a, d, dt_bias;
};

// States whose blocks hold NaN until they are written.
struct States {
  States(DType type, const Sizes& s)
      : conv(type, {kBlocks, s.taps - 1, s.channels}),
        scan(DType::kF32, {kBlocks, s.states, s.channels}) {
    for (int64_t i = 0; i < conv.size(); ++i) conv.Set(i, std::nanf(""));
    for (int64_t i = 0; i < scan.size(); ++i) scan.Set(i, std::nanf(""));
  }
  Tensor conv, scan;
};

struct Result {
  Result(DType type, const Inputs& in) : conv(type, {in.tokens(), in.sizes.channels}), scan(conv) {}
  Tensor conv, scan;
};

void Mix(const Ops& ops, OpContext context, const Inputs& in, const std::vector<AttentionRow>& rows,
         States& states, const Result& out) {
  ops.conv(context, {.x = in.x(),
                     .weight = in.weight,
                     .bias = &in.bias.view(),
                     .taps = in.sizes.taps,
                     .state = states.conv,
                     .rows = rows.data(),
                     .row_count = static_cast<int32_t>(rows.size()),
                     .y = out.conv});
  ops.scan(context, {.x = out.conv,
                     .dt = in.dt,
                     .gate = in.gate(),
                     .b = in.b(),
                     .c = in.c(),
                     .a = in.a,
                     .d = in.d,
                     .dt_bias = in.dt_bias,
                     .state = states.scan,
                     .rows = rows.data(),
                     .row_count = static_cast<int32_t>(rows.size()),
                     .y = out.scan});
}

double Silu(double x) { return x / (1 + std::exp(-x)); }

TEST(Recurrent, IsCloseToTheSumsInDouble) {
  constexpr int64_t kTokens = 50;
  const int32_t block = 1;
  const std::vector<AttentionRow> rows = {{0, kTokens, 0, &block}};
  for (const Ops* ops : AllCpuOps()) {
    for (const Sizes& sizes : kSizes) {
      const Inputs in(DType::kF32, sizes, kTokens);
      States states(DType::kF32, sizes);
      Result out(DType::kF32, in);
      Machine machine(2);
      Mix(*ops, machine, in, rows, states, out);
      for (int64_t channel = 0; channel < sizes.channels; ++channel) {
        std::vector<double> h(sizes.states, 0);
        for (int64_t t = 0; t < kTokens; ++t) {
          double sum = in.bias.Get(channel);
          for (int64_t i = 0; i < sizes.taps; ++i) {
            const int64_t from = t - sizes.taps + 1 + i;
            if (from < 0) continue;
            sum += in.both.Get(from * 2 * sizes.channels + channel) *
                   in.weight.Get(channel * sizes.taps + i);
          }
          const double u = out.conv.Get(t * sizes.channels + channel);
          ASSERT_NEAR(u, Silu(sum), 4e-6) << ops->instruction_set;
          const double step = std::log1p(
              std::exp(in.dt.Get(t * sizes.channels + channel) + in.dt_bias.Get(channel)));
          double y = 0;
          for (int64_t k = 0; k < sizes.states; ++k) {
            const double b = in.select.Get(t * (2 * sizes.states + 3) + 3 + k);
            const double c = in.select.Get(t * (2 * sizes.states + 3) + 3 + sizes.states + k);
            const double decay = std::exp(in.a.Get(channel * sizes.states + k) * step);
            h[k] = decay * h[k] + step * b * u;
            y += c * h[k];
          }
          y = (y + in.d.Get(channel) * u) *
              Silu(in.both.Get(t * 2 * sizes.channels + sizes.channels + channel));
          ASSERT_NEAR(out.scan.Get(t * sizes.channels + channel), y, 2e-5 * (1 + std::abs(y)))
              << ops->instruction_set << " channel " << channel << " token " << t;
        }
        for (int64_t k = 0; k < sizes.states; ++k) {
          ASSERT_NEAR(states.scan.Get((block * sizes.states + k) * sizes.channels + channel), h[k],
                      1e-5 * (1 + std::abs(h[k])));
        }
      }
      EXPECT_TRUE(out.conv.GuardIntact() && out.scan.GuardIntact());
      EXPECT_TRUE(states.conv.GuardIntact() && states.scan.GuardIntact());
    }
  }
}

// Softplus where its two halves meet and where one of them vanishes.
TEST(Recurrent, StepsAreCloseOverTheWholeRange) {
  constexpr int64_t kTokens = 4001;
  const Sizes sizes{1, 1, 2};
  const int32_t block = 0;
  Machine machine;
  for (const Ops* ops : AllCpuOps()) {
    Inputs in(DType::kF32, sizes, kTokens);
    Tensor ones(DType::kF32, {kTokens, 1}), y(ones);
    in.a.Set(0, -3e38f);  // nothing lasts: the result is the step
    in.d.Set(0, 0), in.dt_bias.Set(0, 0);
    for (int64_t t = 0; t < kTokens; ++t) {
      ones.Set(t, 1);
      in.dt.Set(t, static_cast<float>(t - 2000) * 0.04f);
    }
    States states(DType::kF32, sizes);
    const AttentionRow row{0, kTokens, 0, &block};
    ops->scan(machine, {.x = ones,
                        .dt = in.dt,
                        .gate = ones,
                        .b = ones,
                        .c = ones,
                        .a = in.a,
                        .d = in.d,
                        .dt_bias = in.dt_bias,
                        .state = states.scan,
                        .rows = &row,
                        .row_count = 1,
                        .y = y});
    for (int64_t t = 0; t < kTokens; ++t) {
      const double exact = std::log1p(std::exp(in.dt.Get(t))) * Silu(1);
      ASSERT_NEAR(y.Get(t), exact, 1e-6 * exact) << ops->instruction_set << " " << in.dt.Get(t);
    }
  }
}

// The rows of a sequence cut into `chunks`, and what they give.
void ExpectSameInChunks(const Ops& ops, DType type, const Sizes& sizes, OpContext context,
                        const std::vector<int32_t>& chunks) {
  constexpr int32_t kTokens = 40;
  const Inputs in(type, sizes, kTokens);
  const std::vector<int32_t> blocks = {0, 1, 2};
  States whole_states(type, sizes), states(type, sizes);
  Result whole(type, in), out(type, in);
  Mix(ops, {}, in, {{0, kTokens, 0, &blocks[1]}}, whole_states, whole);
  for (int32_t first = 0, i = 0; first < kTokens; ++i) {
    const int32_t count = std::min(chunks[i % chunks.size()], kTokens - first);
    Mix(ops, context, in, {{first, count, first, &blocks[1]}}, states, out);
    first += count;
  }
  EXPECT_TRUE(out.conv.SameBits(whole.conv)) << ops.instruction_set << " " << NameOf(type);
  EXPECT_TRUE(out.scan.SameBits(whole.scan)) << ops.instruction_set << " " << NameOf(type);
  EXPECT_TRUE(states.conv.SameBits(whole_states.conv));
  EXPECT_TRUE(states.scan.SameBits(whole_states.scan));
}

TEST(Recurrent, ChunksAndThreadsChangeNothing) {
  Machine one, three(3);
  for (const Ops* ops : AllCpuOps()) {
    for (const DType type : kFloats) {
      for (const Sizes& sizes : kSizes) {
        ExpectSameInChunks(*ops, type, sizes, three, {40});
        ExpectSameInChunks(*ops, type, sizes, one, {1});
        ExpectSameInChunks(*ops, type, sizes, three, {7, 1, 2});
      }
    }
  }
}

// A row in the middle of others gives what it gives alone, and leaves other blocks as they are.
TEST(Recurrent, NeighboursChangeNothing) {
  const std::vector<int32_t> blocks = {0, 1, 2};
  Machine machine(3);
  for (const Ops* ops : AllCpuOps()) {
    for (const DType type : kFloats) {
      for (const Sizes& sizes : kSizes) {
        const Inputs in(type, sizes, 30);
        States alone_states(type, sizes), states(type, sizes);
        Result alone(type, in), out(type, in);
        Mix(*ops, {}, in, {{9, 11, 0, &blocks[2]}}, alone_states, alone);
        const States before(alone_states);
        Mix(*ops, {}, in, {{9, 11, 11, &blocks[2]}}, alone_states, alone);
        for (int64_t i = 0; i < 2 * before.scan.size() / kBlocks; ++i) {
          ASSERT_TRUE(std::isnan(alone_states.scan.Get(i)));
        }
        Mix(*ops, machine, in,
            {{0, 9, 0, &blocks[1]}, {9, 11, 0, &blocks[2]}, {20, 10, 0, &blocks[0]}}, states, out);
        Mix(*ops, machine, in,
            {{0, 9, 9, &blocks[0]}, {9, 11, 11, &blocks[2]}, {20, 10, 10, &blocks[1]}}, states,
            out);
        const auto same = [](const View& a, const View& b) {
          return std::memcmp(a.data, b.data, a.bytes()) == 0;
        };
        EXPECT_TRUE(same(out.conv.view().Rows(9, 11), alone.conv.view().Rows(9, 11)));
        EXPECT_TRUE(same(out.scan.view().Rows(9, 11), alone.scan.view().Rows(9, 11)));
        EXPECT_TRUE(same(states.conv.view().Rows(2, 1), alone_states.conv.view().Rows(2, 1)));
        EXPECT_TRUE(same(states.scan.view().Rows(2, 1), alone_states.scan.view().Rows(2, 1)));
      }
    }
  }
}

// The result may stand where the input was.
TEST(Recurrent, ScansInPlace) {
  const int32_t block = 0;
  const AttentionRow row{0, 20, 0, &block};
  Machine machine(2);
  for (const Ops* ops : AllCpuOps()) {
    const Inputs in(DType::kBF16, kSizes[2], 20);
    States states(DType::kBF16, kSizes[2]), other(states);
    Result out(DType::kBF16, in);
    Mix(*ops, machine, in, {row}, states, out);
    const Tensor in_place(out.conv);
    ops->scan(machine, {.x = in_place,
                        .dt = in.dt,
                        .gate = in.gate(),
                        .b = in.b(),
                        .c = in.c(),
                        .a = in.a,
                        .d = in.d,
                        .dt_bias = in.dt_bias,
                        .state = other.scan,
                        .rows = &row,
                        .row_count = 1,
                        .y = in_place});
    EXPECT_TRUE(in_place.SameBits(out.scan));
  }
}

// An f32 row that is normed to a narrower type is what the rounded row gives, or what f32 gives,
// rounded.
TEST(RmsNorm, TakesWideRows) {
  Machine machine(2);
  for (const Ops* ops : AllCpuOps()) {
    for (const DType type : {DType::kBF16, DType::kF16}) {
      Tensor x(DType::kF32, {40, 100}), rounded(type, {40, 100}), y(rounded), expected(rounded),
          exact(x), weight(DType::kF32, {100});
      x.Random(1), weight.Random(2);
      for (int64_t i = 0; i < x.size(); ++i) rounded.Set(i, static_cast<float>(x.Get(i)));
      ops->rms_norm(machine, x, weight, Norm{1e-5f}, y);
      ops->rms_norm(machine, rounded, weight, Norm{1e-5f}, expected);
      EXPECT_TRUE(y.SameBits(expected)) << ops->instruction_set;
      const Norm once{1e-5f, NormRounding::kOnce};
      ops->rms_norm(machine, x, weight, once, y);
      ops->rms_norm(machine, x, weight, once, exact);
      for (int64_t i = 0; i < x.size(); ++i) {
        ASSERT_EQ(y.Get(i), testing::RoundTo(type, exact.Get(i))) << ops->instruction_set;
      }
    }
  }
}

}  // namespace
}  // namespace shardline
