// Attention over the paged cache: right, and the same bits for a token however its sequence was cut
// up.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>

#include "tests/kernels/tensor.h"

namespace shardline {
namespace {

using testing::AllCpuOps;
using testing::HalfUlp;
using testing::Machine;
using testing::Tensor;

struct Dims {
  int64_t heads, kv_heads, head_dim, block_tokens;
  DType type = DType::kF32, cache = DType::kF32;
  int64_t window = 0;
  float score_cap = 0;
  enum class Bias { kNone, kPlain, kRounded } bias = Bias::kNone;
  int64_t shared = 0;  // > 0: values are the first so many columns of the keys

  int64_t value_dim() const { return shared > 0 ? shared : head_dim; }
};

// Some sequences with their queries, keys and values, cached in shuffled blocks.
class Sequences {
 public:
  Sequences(const Ops& ops, const Dims& dims, const std::vector<int32_t>& lengths)
      : ops_(ops), dims_(dims) {
    int64_t blocks = 0, tokens = 0;
    for (int32_t length : lengths) {
      starts_.push_back(tokens);
      tokens += length;
      const int64_t n = (length + dims.block_tokens - 1) / dims.block_tokens;
      tables_.emplace_back(n);
      for (int32_t& block : tables_.back()) block = static_cast<int32_t>(blocks++);
    }
    std::vector<int32_t> order(static_cast<size_t>(blocks));
    for (int64_t i = 0; i < blocks; ++i) order[i] = static_cast<int32_t>(i);
    std::shuffle(order.begin(), order.end(), std::mt19937(5));
    for (auto& table : tables_) {
      for (int32_t& block : table) block = order[block];
    }
    q = std::make_unique<Tensor>(dims.type,
                                 std::initializer_list<int64_t>{tokens, dims.heads, dims.head_dim});
    k = std::make_unique<Tensor>(
        dims.type, std::initializer_list<int64_t>{tokens, dims.kv_heads, dims.head_dim});
    v = std::make_unique<Tensor>(
        dims.type, std::initializer_list<int64_t>{tokens, dims.kv_heads, dims.head_dim});
    q->Random(1, 1.5f), k->Random(2, 1.5f), v->Random(3);
    const std::initializer_list<int64_t> shape = {blocks, dims.kv_heads, dims.block_tokens,
                                                  dims.head_dim};
    k_pages = std::make_unique<Tensor>(dims.cache, shape);
    v_pages = std::make_unique<Tensor>(dims.cache, shape);  // not used where they are shared
    Poison();
  }

  // Memory that has not been written must not matter.
  void Poison() {
    for (Tensor* pages : {k_pages.get(), v_pages.get()}) {
      for (int64_t i = 0; i < pages->size(); ++i)
        pages->Set(i, std::numeric_limits<float>::quiet_NaN());
    }
  }

  // Positions [begin, end) of a sequence.
  struct Piece {
    int sequence;
    int32_t begin, end;
  };

  // Writes the pieces' keys and values and attends, in one call; results go to `out` at the tokens'
  // places.
  void Run(const std::vector<Piece>& pieces, OpContext context, Tensor* out) {
    int64_t tokens = 0;
    for (const Piece& piece : pieces) tokens += piece.end - piece.begin;
    Tensor bq(dims_.type, {tokens, dims_.heads, dims_.head_dim});
    Tensor bk(dims_.type, {tokens, dims_.kv_heads, dims_.head_dim}), bv(bk);
    Tensor bout(dims_.type, {tokens, dims_.heads, dims_.value_dim()});
    std::vector<int64_t> slots;
    std::vector<AttentionRow> rows;
    std::vector<std::vector<int32_t>> tables;
    for (const Piece& piece : pieces) {
      const auto at = static_cast<int64_t>(slots.size()),
                 from = starts_[piece.sequence] + piece.begin;
      const int64_t count = piece.end - piece.begin;
      Copy(*q, from, &bq, at, count), Copy(*k, from, &bk, at, count),
          Copy(*v, from, &bv, at, count);
      const auto& table = tables_[piece.sequence];
      for (int64_t p = piece.begin; p < piece.end; ++p) {
        slots.push_back(table[p / dims_.block_tokens] * dims_.block_tokens +
                        p % dims_.block_tokens);
      }
      tables.push_back(table);
      for (int32_t p = 0; p < Passed(piece.begin); ++p) {
        tables.back()[p / dims_.block_tokens] = 1 << 30;  // nobody may go there
      }
      rows.push_back({.first_token = static_cast<int32_t>(at),
                      .token_count = static_cast<int32_t>(count),
                      .first_position = piece.begin,
                      .blocks = tables.back().data()});
    }
    const bool shared = dims_.shared > 0;
    const KvPages pages{.k = *k_pages,
                        .v = shared ? k_pages->view().Columns(0, dims_.shared) : v_pages->view()};
    const std::vector<float> slopes = Slopes();
    const bool rounded = dims_.bias == Dims::Bias::kRounded;
    ops_.kv_write(context, bk, shared ? View{} : bv.view(),
                  View::Contiguous(slots.data(), DType::kI64, {tokens}), pages);
    ops_.attention(context, {.q = bq,
                             .out = bout,
                             .pages = pages,
                             .rows = rows.data(),
                             .row_count = static_cast<int32_t>(rows.size()),
                             .scale = Scale(),
                             .window = dims_.window,
                             .score_cap = dims_.score_cap,
                             .alibi = {.slopes = slopes.empty() ? nullptr : slopes.data(),
                                       .scale = rounded ? Scale() : 1.0f,
                                       .rounded = rounded}});
    EXPECT_TRUE(bout.GuardIntact());
    int64_t at = 0;
    for (const Piece& piece : pieces) {
      Copy(bout, at, out, starts_[piece.sequence] + piece.begin, piece.end - piece.begin);
      at += piece.end - piece.begin;
    }
  }

  // Positions, whole blocks of them, that a query at `position` and those after it do not see.
  int64_t Passed(int32_t position) const {
    if (dims_.window == 0 || position < dims_.window) return 0;
    return (position - dims_.window + 1) / dims_.block_tokens * dims_.block_tokens;
  }

  float Scale() const { return 1.0f / std::sqrt(static_cast<float>(dims_.head_dim)); }

  // Uneven ones, values of bf16.
  std::vector<float> Slopes() const {
    std::vector<float> slopes;
    for (int64_t h = 0; h < dims_.heads && dims_.bias != Dims::Bias::kNone; ++h) {
      slopes.push_back(static_cast<float>(
          testing::RoundTo(DType::kBF16, 0.37 / static_cast<double>(1 + h * h))));
    }
    return slopes;
  }

  // What is added to the score of a key at `p` for a query at `position`.
  double Bias(int64_t head, int64_t position, int64_t p) const {
    if (dims_.bias == Dims::Bias::kNone) return 0;
    const double slope = Slopes()[head];
    if (dims_.bias == Dims::Bias::kPlain) return slope * static_cast<double>(p - position);
    const auto at = [&](int64_t x) {
      return testing::RoundTo(DType::kBF16,
                              slope * testing::RoundTo(DType::kBF16, static_cast<double>(x)));
    };
    return Scale() * (at(p) - at(position));
  }

  // Room for all results.
  Tensor Out() const {
    return Tensor(dims_.type, {q->view().shape[0], dims_.heads, dims_.value_dim()});
  }

  // Exact attention of one position of one head, in double: [value_dim].
  std::vector<double> Exact(int sequence, int32_t position, int64_t head) const {
    const int64_t d = dims_.head_dim, kv_head = head / (dims_.heads / dims_.kv_heads);
    const auto at = [&](const Tensor& t, int64_t p, int64_t h, int64_t i) {
      return t.Get(((starts_[sequence] + p) * t.view().shape[1] + h) * d + i);
    };
    std::vector<double> weight, out(dims_.value_dim());
    const Tensor& values = dims_.shared > 0 ? *k : *v;
    double max = -1e300, sum = 0;
    const int64_t first = dims_.window == 0 ? 0 : std::max<int64_t>(0, position - dims_.window + 1);
    for (int64_t p = first; p <= position; ++p) {
      double dot = 0;
      for (int64_t i = 0; i < d; ++i) {
        dot += at(*q, position, head, i) * testing::RoundTo(dims_.cache, at(*k, p, kv_head, i));
      }
      weight.push_back(dot * Scale() + Bias(head, position, p));
      const double cap = dims_.score_cap;
      if (cap > 0) weight.back() = cap * std::tanh(weight.back() / cap);
      max = std::max(max, weight.back());
    }
    for (double& w : weight) sum += w = std::exp(w - max);
    for (int64_t p = first; p <= position; ++p) {
      for (int64_t i = 0; i < dims_.value_dim(); ++i) {
        out[i] +=
            weight[p - first] / sum * testing::RoundTo(dims_.cache, at(values, p, kv_head, i));
      }
    }
    return out;
  }

  static void Copy(const Tensor& from, int64_t from_row, Tensor* to, int64_t to_row,
                   int64_t count) {
    const View source = from.view().Rows(from_row, count), target = to->view().Rows(to_row, count);
    std::memcpy(target.data, source.data, source.bytes());
  }

  std::unique_ptr<Tensor> q, k, v, k_pages, v_pages;

 private:
  const Ops& ops_;
  Dims dims_;
  std::vector<int64_t> starts_;
  std::vector<std::vector<int32_t>> tables_;
};

std::vector<Dims> AllDims() {
  std::vector<Dims> all;
  for (const auto& [type, cache] : {std::pair{DType::kF32, DType::kF32},
                                    {DType::kBF16, DType::kBF16},
                                    {DType::kBF16, DType::kF32},
                                    {DType::kF32, DType::kBF16}}) {
    all.push_back({9, 3, 64, 16, type, cache});
    all.push_back({4, 4, 8, 32, type, cache});
    all.push_back({6, 1, 128, 32, type, cache});
    all.push_back({5, 1, 7, 5, type, cache});
    all.push_back({2, 2, 1, 16, type, cache});
    all.push_back({6, 2, 24, 16, type, cache, 8});
    all.push_back({4, 1, 16, 16, type, cache, 1});
    all.push_back({2, 2, 40, 16, type, cache, 270});
    all.push_back({4, 2, 24, 16, type, cache, 270, 1.5f});
    all.push_back({.heads = 5,  // latent attention: one key for all heads, longer than its values
                   .kv_heads = 1,
                   .head_dim = 40,
                   .block_tokens = 16,
                   .type = type,
                   .cache = cache,
                   .shared = 33});
  }
  all.push_back({6, 1, 72, 16, DType::kF16, DType::kF16});
  for (const auto bias : {Dims::Bias::kPlain, Dims::Bias::kRounded}) {
    all.push_back({6, 6, 8, 16, DType::kF32, DType::kF32, 0, 0, bias});
    all.push_back({4, 2, 24, 16, DType::kBF16, DType::kBF16, 0, 0, bias});
    all.push_back({5, 1, 16, 16, DType::kF16, DType::kF16, 270, 0, bias});
  }
  all.push_back({6, 3, 24, 16, DType::kF16, DType::kF16, 33});
  for (const DType type : {DType::kBF16, DType::kF16}) {  // the sizes of DeepSeek's
    all.push_back({.heads = 3,
                   .kv_heads = 1,
                   .head_dim = 576,
                   .block_tokens = 16,
                   .type = type,
                   .cache = type,
                   .shared = 512});
  }
  return all;
}

std::string Name(const Ops& ops, const Dims& d) {
  return std::string(ops.instruction_set) + " " + std::string(NameOf(d.type)) + " cache " +
         std::string(NameOf(d.cache)) + " head_dim " + std::to_string(d.head_dim) + " window " +
         std::to_string(d.window) + " cap " + std::to_string(d.score_cap) + " bias " +
         std::to_string(static_cast<int>(d.bias)) + " shared " + std::to_string(d.shared);
}

TEST(Attention, IsCloseToTheExactResult) {
  Machine machine(2);
  for (const Ops* ops : AllCpuOps()) {
    for (const Dims& dims : AllDims()) {
      SCOPED_TRACE(Name(*ops, dims));
      Sequences s(*ops, dims, {1, 40, 530});
      Tensor out = s.Out();
      s.Run({{0, 0, 1}, {1, 0, 40}, {2, 0, 530}}, machine, &out);
      for (const auto& [sequence, position] : {std::pair{0, 0},
                                               {1, 0},
                                               {1, 39},
                                               {2, 0},
                                               {2, 15},
                                               {2, 255},
                                               {2, 256},
                                               {2, 300},
                                               {2, 511},
                                               {2, 529}}) {
        const int64_t start = sequence == 0 ? 0 : sequence == 1 ? 1 : 41;
        for (int64_t head = 0; head < dims.heads; ++head) {
          const auto exact = s.Exact(sequence, position, head);
          for (int64_t i = 0; i < dims.value_dim(); ++i) {
            const double got =
                out.Get(((start + position) * dims.heads + head) * dims.value_dim() + i);
            ASSERT_NEAR(got, exact[i], 2e-5 + 1.01 * HalfUlp(dims.type, exact[i]))
                << sequence << " position " << position << " head " << head << " dim " << i;
          }
        }
      }
    }
  }
}

TEST(Attention, ATokenHasTheSameBitsHoweverItsSequenceIsCut) {
  for (const Ops* ops : AllCpuOps()) {
    for (const Dims& dims : AllDims()) {
      SCOPED_TRACE(Name(*ops, dims));
      const int32_t length = ops->instruction_set == "scalar" ? 300 : 600;
      Sequences s(*ops, dims, {length, 33});
      Machine one(1), two(2), three(3);
      Tensor whole = s.Out();
      s.Run({{1, 0, 33}}, one, &whole);
      s.Run({{0, 0, length}}, one, &whole);
      for (int32_t chunk : {1, 7, 64, 257}) {
        Tensor out = s.Out();
        s.Poison();
        Machine* machines[] = {&two, &three, &one};
        s.Run({{1, 0, 20}}, two, &out);
        int turn = 0;
        for (int32_t begin = 0; begin < length; begin += chunk, ++turn) {
          const Sequences::Piece piece{0, begin, std::min(begin + chunk, length)};
          if (turn < 13) {  // another sequence decodes beside it
            s.Run({{1, 20 + turn, 21 + turn}, piece}, *machines[turn % 3], &out);
          } else {  // not always on threads: on a busy machine their meeting takes milliseconds
            s.Run({piece}, turn < 40 || turn % 8 < 2 ? *machines[turn % 3] : one, &out);
          }
        }
        for (; turn < 13; ++turn) s.Run({{1, 20 + turn, 21 + turn}}, two, &out);
        ASSERT_TRUE(out.SameBits(whole)) << "chunks of " << chunk;
      }
    }
  }
}

TEST(Attention, ManyRowsAtOnceEqualEachAlone) {
  const Dims dims{9, 3, 64, 16, DType::kBF16, DType::kBF16};
  for (const Ops* ops : AllCpuOps()) {
    std::vector<int32_t> lengths;
    for (int i = 0; i < 20; ++i) lengths.push_back(1 + i * 31 % 290);
    Sequences s(*ops, dims, lengths);
    Machine one(1), three(3, 1 << 20);
    Tensor alone(*s.q), together(*s.q);
    std::vector<Sequences::Piece> pieces;
    for (int i = 0; i < 20; ++i) {
      pieces.push_back({i, 0, lengths[i]});
      s.Run({pieces.back()}, one, &alone);
    }
    s.Run(pieces, three, &together);
    EXPECT_TRUE(together.SameBits(alone)) << ops->instruction_set;
  }
}

TEST(Attention, ANanInALaterTokenOrAnotherSequenceTouchesNothing) {
  Machine machine(2);
  for (const Ops* ops : AllCpuOps()) {
    for (const Dims& dims : AllDims()) {
      SCOPED_TRACE(Name(*ops, dims));
      Sequences s(*ops, dims, {50, 50});
      Tensor clean = s.Out(), out = s.Out();
      s.Run({{0, 0, 50}, {1, 0, 50}}, machine, &clean);
      for (int64_t i = 0; i < dims.kv_heads * dims.head_dim; ++i) {  // token 30 of sequence 0
        s.k->Set(30 * dims.kv_heads * dims.head_dim + i, std::numeric_limits<float>::quiet_NaN());
        s.v->Set(30 * dims.kv_heads * dims.head_dim + i, std::numeric_limits<float>::infinity());
      }
      s.Run({{0, 0, 50}, {1, 0, 50}}, machine, &out);
      const int64_t row = dims.heads * dims.value_dim();
      for (int64_t i = 0; i < out.size(); ++i) {
        const int64_t end = dims.window == 0 ? 50 : std::min<int64_t>(50, 30 + dims.window);
        if (i / row >= 30 && i / row < end) {
          ASSERT_TRUE(std::isnan(out.Get(i)));
        } else {
          ASSERT_EQ(out.Get(i), clean.Get(i)) << "token " << i / row;
        }
      }
    }
  }
}

}  // namespace
}  // namespace shardline
