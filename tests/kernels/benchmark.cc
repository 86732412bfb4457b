// Speed of the products and of attention at the shapes of a small and a large model. What bounds a
// decode step is reading the weights, so each product is reported beside a plain read of the same
// bytes, taken in turn with it (a shared machine's bandwidth changes by the minute), and beside
// libtorch's `linear`.
#include <ATen/Parallel.h>
#include <ATen/ops/linear.h>
#include <benchmark/benchmark.h>
#include <c10/core/InferenceMode.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "kernels/reference/tensor.h"
#include "tests/kernels/read_bandwidth.h"
#include "tests/kernels/tensor.h"

namespace shardline {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kThreads = 2;

double Median(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

template <typename F>
double Seconds(const F& f) {
  const auto start = Clock::now();
  f();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Copies of one [n, k] matrix, enough of them that no cache holds them all.
struct Matrices {
  Matrices(const Ops& ops, DType type, int64_t n, int64_t k, size_t total)
      : each((ops.packed_bytes(type, n, k) + 63) / 64 * 64),
        count(std::max<size_t>(1, total / each)),
        memory(each * count) {
    testing::Tensor w(type, {n, k});
    w.Random(1, 0.05f);
    for (size_t i = 0; i < count; ++i) {
      packed.emplace_back();
      ops.pack(w, type, static_cast<char*>(memory.data()) + i * each, &packed.back());
    }
  }
  size_t each, count;
  Memory memory;
  std::vector<Packed> packed;
};

// A chain of products, as a decode step is: m rows times every matrix once.
void Decode(benchmark::State& state, const Ops& ops, DType type, int64_t m, int64_t n, int64_t k) {
  constexpr size_t kTotal = size_t{270} << 20;
  const Matrices w(ops, type, n, k, kTotal);
  const Matrices plain(ReferenceOps(), type, n, k, kTotal);
  testing::Tensor x(type, {m, k}), y(type, {m, n});
  x.Random(2);
  testing::Machine machine(kThreads, size_t{64} << 20);
  ThreadPool pool(kThreads);
  at::set_num_threads(kThreads);
  const c10::InferenceMode guard;
  std::vector<double> ours, reads, torchs;
  for (auto _ : state) {
    reads.push_back(Seconds([&] { Read(pool, w.memory.data(), w.each * w.count); }));
    ours.push_back(Seconds([&] {
      for (const Packed& packed : w.packed) ops.matmul(machine, x, packed, nullptr, y);
    }));
    torchs.push_back(Seconds([&] {
      const at::Tensor in = reference::TensorOf(x);
      for (const Packed& p : plain.packed) {
        const View view = View::Contiguous(p.data, p.type, {p.rows, p.cols});
        benchmark::DoNotOptimize(at::linear(in, reference::TensorOf(view)));
      }
    }));
    state.SetIterationTime(ours.back());
  }
  const double bytes = static_cast<double>(w.each * w.count);
  state.counters["GB/s"] = bytes / Median(ours) / 1e9;
  state.counters["probe_GB/s"] = bytes / Median(reads) / 1e9;
  state.counters["%probe"] = 100 * Median(reads) / Median(ours);
  state.counters["us_each"] = Median(ours) / static_cast<double>(w.count) * 1e6;
  state.counters["x_linear"] = Median(torchs) / Median(ours);
}

void Prefill(benchmark::State& state, const Ops& ops, DType type, int64_t m, int64_t n, int64_t k) {
  const Matrices w(ops, type, n, k, 0);
  const Matrices plain(ReferenceOps(), type, n, k, 0);
  testing::Tensor x(type, {m, k}), y(type, {m, n});
  x.Random(2);
  testing::Machine machine(kThreads, size_t{64} << 20);
  at::set_num_threads(kThreads);
  const c10::InferenceMode guard;
  const at::Tensor in = reference::TensorOf(x);
  const at::Tensor weight =
      reference::TensorOf(View::Contiguous(plain.packed[0].data, type, {n, k}));
  const auto mine = [&] { ops.matmul(machine, x, w.packed[0], nullptr, y); };
  const auto theirs = [&] { benchmark::DoNotOptimize(at::linear(in, weight)); };
  const auto repeat =
      static_cast<int>(std::clamp(2e8 / static_cast<double>(m * n * k), 1.0, 100.0));
  const auto timed = [&](const auto& product) {
    product();
    return Seconds([&] {
             for (int i = 0; i < repeat; ++i) product();
           }) /
           repeat;
  };
  std::vector<double> ours, torchs;
  for (auto _ : state) {
    ours.push_back(timed(mine));
    torchs.push_back(timed(theirs));
    state.SetIterationTime(ours.back());
  }
  const double flops = 2.0 * static_cast<double>(m * n * k);
  state.counters["GFLOP/s"] = flops / Median(ours) / 1e9;
  state.counters["linear_GFLOP/s"] = flops / Median(torchs) / 1e9;
  state.counters["x_linear"] = Median(torchs) / Median(ours);
}

struct Heads {
  int64_t heads, kv_heads, head_dim;
  int64_t shared_values = 0;  // > 0: values are the first so many columns of the keys
};
constexpr Heads kSmall{9, 3, 64};          // the default model's
constexpr Heads kLatent{16, 1, 576, 512};  // DeepSeek V2-Lite's

// `rows` sequences of `context` positions; each attends with its last `tokens` tokens. Caches of
// several layers, so that decoding reads memory.
void Attend(benchmark::State& state, const Ops& ops, DType type, const Heads& heads, int64_t rows,
            int64_t context, int64_t tokens) {
  constexpr int64_t kBlock = 32, kLayers = 30;
  const bool shared = heads.shared_values > 0;
  const int64_t value_dim = shared ? heads.shared_values : heads.head_dim;
  const int64_t blocks = rows * ((context + kBlock - 1) / kBlock);
  testing::Tensor q(type, {rows * tokens, heads.heads, heads.head_dim});
  testing::Tensor out(type, {rows * tokens, heads.heads, value_dim});
  q.Random(1);
  const size_t cache =
      static_cast<size_t>(blocks * heads.kv_heads * kBlock * heads.head_dim) * SizeOf(type);
  const int64_t planes = (shared ? 1 : 2) * kLayers;
  Memory memory(cache * planes);
  testing::Tensor some(type, {1, static_cast<int64_t>(cache / SizeOf(type))});
  some.Random(2);
  std::vector<KvPages> layers;
  for (int64_t i = 0; i < planes; ++i) {
    void* at = static_cast<char*>(memory.data()) + static_cast<size_t>(i) * cache;
    std::memcpy(at, some.view().data, cache);
    const View view = View::Contiguous(at, type, {blocks, heads.kv_heads, kBlock, heads.head_dim});
    if (shared || i % 2 == 0) layers.push_back({.k = view, .v = view});
    layers.back().v = view.Columns(0, value_dim);
  }
  std::vector<int32_t> table(static_cast<size_t>(blocks));
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
  std::vector<AttentionRow> list;
  for (int64_t r = 0; r < rows; ++r) {
    list.push_back({.first_token = static_cast<int32_t>(r * tokens),
                    .token_count = static_cast<int32_t>(tokens),
                    .first_position = static_cast<int32_t>(context - tokens),
                    .blocks = table.data() + r * (blocks / rows)});
  }
  testing::Machine machine(kThreads, size_t{64} << 20);
  ThreadPool pool(kThreads);
  std::vector<double> ours, reads;
  for (auto _ : state) {
    reads.push_back(Seconds([&] { Read(pool, memory.data(), cache * planes); }));
    ours.push_back(Seconds([&] {
      for (const KvPages& pages : layers) {
        ops.attention(machine, {.q = q,
                                .out = out,
                                .pages = pages,
                                .rows = list.data(),
                                .row_count = static_cast<int32_t>(rows),
                                .scale = 0.125f});
      }
    }));
    state.SetIterationTime(ours.back());
  }
  state.counters["us_layer"] = Median(ours) / kLayers * 1e6;
  state.counters["%probe"] = 100 * Median(reads) / Median(ours);
  double pairs = 0;  // (query, position)
  for (int64_t t = 0; t < tokens; ++t) pairs += static_cast<double>(rows * (context - t));
  const auto flops = static_cast<double>(2 * heads.heads * (heads.head_dim + value_dim) * kLayers);
  state.counters["GFLOP/s"] = pairs * flops / Median(ours) / 1e9;
}

// All products and operations of one step of a 30-layer model (the default one's shapes): `rows`
// sequences decode one token each at `context` positions. Beside it a read of all weights.
class Step {
 public:
  Step(const Ops& ops, DType type, int64_t rows, int64_t context)
      : ops_(ops),
        type_(type),
        rows_(rows),
        qkv_(ops, type, 960, 576, Bytes(960, 576)),
        o_(ops, type, 576, 576, Bytes(576, 576)),
        gate_up_(ops, type, 3072, 576, Bytes(3072, 576)),
        down_(ops, type, 576, 1536, Bytes(576, 1536)),
        head_(ops, type, 49152, 576, 0),
        x_(type, {rows, 576}),
        normal_(x_),
        wide_(type, {rows, 3072}),
        inner_(type, {rows, 1536}),
        mixed_(x_),
        logits_(DType::kF32, {rows, 49152}),
        weight_(DType::kF32, {576}),
        angles_(DType::kF32, {rows, 32}) {
    x_.Random(3), weight_.Random(4), angles_.Random(5, 0.5f);
    const int64_t blocks = rows * ((context + 31) / 32);
    const int64_t elements = blocks * 3 * 32 * 64;
    testing::Tensor some(type, {elements});
    some.Random(6);
    cache_ = std::make_unique<Memory>(some.view().bytes() * 2 * kLayers);
    for (int64_t i = 0; i < 2 * kLayers; ++i) {
      std::memcpy(static_cast<char*>(cache_->data()) + i * some.view().bytes(), some.view().data,
                  some.view().bytes());
    }
    for (int64_t i = 0; i < kLayers; ++i) {
      char* at = static_cast<char*>(cache_->data()) + 2 * i * some.view().bytes();
      pages_.push_back(
          {.k = View::Contiguous(at, type, {blocks, 3, 32, 64}),
           .v = View::Contiguous(at + some.view().bytes(), type, {blocks, 3, 32, 64})});
    }
    for (int64_t i = 0; i < blocks; ++i) table_.push_back(static_cast<int32_t>(i));
    for (int64_t r = 0; r < rows; ++r) {
      list_.push_back({.first_token = static_cast<int32_t>(r),
                       .token_count = 1,
                       .first_position = static_cast<int32_t>(context - 1),
                       .blocks = table_.data() + r * (blocks / rows)});
      slots_.push_back((r + 1) * (blocks / rows) * 32 - 1);
    }
  }

  void Run(const OpContext& context) {
    const View slots = View::Contiguous(slots_.data(), DType::kI64, {rows_});
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const auto i = static_cast<size_t>(layer);
      ops_.rms_norm(context, x_, weight_, Norm{1e-5f}, normal_);
      const View qkv = wide_.view().Columns(0, 960);
      ops_.matmul(context, normal_, qkv_.packed[i], nullptr, qkv);
      const View q = qkv.Columns(0, 576).SplitColumns(9, 64),
                 k = qkv.Columns(576, 192).SplitColumns(3, 64);
      const View v = qkv.Columns(768, 192).SplitColumns(3, 64);
      ops_.rope(context, q, angles_, angles_, RopeStyle::kHalf);
      ops_.rope(context, k, angles_, angles_, RopeStyle::kHalf);
      ops_.kv_write(context, k, v, slots, pages_[i]);
      ops_.attention(context, {.q = q,
                               .out = mixed_.view().SplitColumns(9, 64),
                               .pages = pages_[i],
                               .rows = list_.data(),
                               .row_count = static_cast<int32_t>(rows_),
                               .scale = 0.125f});
      ops_.matmul(context, mixed_, o_.packed[i], nullptr, normal_);
      ops_.add(context, x_, normal_);
      ops_.rms_norm(context, x_, weight_, Norm{1e-5f}, normal_);
      ops_.matmul(context, normal_, gate_up_.packed[i], nullptr, wide_);
      ops_.gated(context, Activation::kSilu, wide_.view().Columns(0, 1536),
                 wide_.view().Columns(1536, 1536), inner_);
      ops_.matmul(context, inner_, down_.packed[i], nullptr, normal_);
      ops_.add(context, x_, normal_);
    }
    ops_.rms_norm(context, x_, weight_, Norm{1e-5f}, normal_);
    ops_.matmul(context, normal_, head_.packed[0], nullptr, logits_);
  }

  size_t ReadWeights(ThreadPool& pool) const {
    size_t bytes = 0;
    for (const Matrices* w : {&qkv_, &o_, &gate_up_, &down_, &head_}) {
      Read(pool, w->memory.data(), w->each * w->count);
      bytes += w->each * w->count;
    }
    return bytes;
  }

 private:
  static constexpr int64_t kLayers = 30;
  size_t Bytes(int64_t n, int64_t k) const { return kLayers * ops_.packed_bytes(type_, n, k); }

  const Ops& ops_;
  DType type_;
  int64_t rows_;
  Matrices qkv_, o_, gate_up_, down_, head_;
  testing::Tensor x_, normal_, wide_, inner_, mixed_, logits_, weight_, angles_;
  std::unique_ptr<Memory> cache_;
  std::vector<KvPages> pages_;
  std::vector<int32_t> table_;
  std::vector<AttentionRow> list_;
  std::vector<int64_t> slots_;
};

void RunStep(benchmark::State& state, const Ops& ops, DType type, int64_t rows, int64_t context) {
  Step step(ops, type, rows, context);
  testing::Machine machine(kThreads, size_t{64} << 20);
  ThreadPool pool(kThreads);
  std::vector<double> ours, reads;
  size_t bytes = 0;
  for (auto _ : state) {
    reads.push_back(Seconds([&] { bytes = step.ReadWeights(pool); }));
    ours.push_back(Seconds([&] { step.Run(machine); }));
    state.SetIterationTime(ours.back());
  }
  state.counters["GB/s"] = static_cast<double>(bytes) / Median(ours) / 1e9;
  state.counters["%probe"] = 100 * Median(reads) / Median(ours);
  state.counters["tokens/s"] = static_cast<double>(rows) / Median(ours);
}

// Convolution and scan of one layer of Mamba 130M for `rows` sequences; nothing is read from far.
void Recur(benchmark::State& state, const Ops& ops, DType type, int64_t rows, int64_t tokens) {
  constexpr int64_t kChannels = 1536, kStates = 16, kTaps = 4;
  const int64_t all = rows * tokens;
  testing::Tensor both(type, {all, 2 * kChannels}), mixed(type, {all, kChannels}), dt(mixed);
  testing::Tensor select(type, {all, 2 * kStates}), vector(DType::kF32, {kChannels});
  testing::Tensor weight(DType::kF32, {kChannels * kTaps}), a(DType::kF32, {kChannels, kStates});
  testing::Tensor inputs(type, {rows, kTaps - 1, kChannels});
  testing::Tensor states(DType::kF32, {rows, kStates, kChannels});
  both.Random(1), dt.Random(2), select.Random(3), vector.Random(4), weight.Random(5);
  for (int64_t i = 0; i < a.size(); ++i) a.Set(i, -0.5f);
  std::vector<int32_t> blocks;
  for (int32_t r = 0; r < rows; ++r) blocks.push_back(r);
  std::vector<AttentionRow> list;
  for (int32_t r = 0; r < rows; ++r) {
    list.push_back({static_cast<int32_t>(r * tokens), static_cast<int32_t>(tokens), 7, &blocks[r]});
  }
  testing::Machine machine(kThreads);
  std::vector<double> conv, scan;
  for (auto _ : state) {
    conv.push_back(Seconds([&] {
      ops.conv(machine, {.x = both.view().Columns(0, kChannels),
                         .weight = weight,
                         .bias = &vector.view(),
                         .taps = kTaps,
                         .state = inputs,
                         .rows = list.data(),
                         .row_count = static_cast<int32_t>(rows),
                         .y = mixed});
    }));
    scan.push_back(Seconds([&] {
      ops.scan(machine, {.x = mixed,
                         .dt = dt,
                         .gate = both.view().Columns(kChannels, kChannels),
                         .b = select.view().Columns(0, kStates),
                         .c = select.view().Columns(kStates, kStates),
                         .a = a,
                         .d = vector,
                         .dt_bias = vector,
                         .state = states,
                         .rows = list.data(),
                         .row_count = static_cast<int32_t>(rows),
                         .y = mixed});
    }));
    state.SetIterationTime(conv.back() + scan.back());
  }
  state.counters["conv_us"] = 1e6 * Median(conv);
  state.counters["scan_us"] = 1e6 * Median(scan);
  state.counters["ns/state"] = 1e9 * Median(scan) / static_cast<double>(all * kChannels * kStates);
}

void Register() {
  const auto add = [](const std::string& name, int iterations, auto body) {
    benchmark::RegisterBenchmark(name.c_str(), body)
        ->UseManualTime()
        ->Iterations(iterations)
        ->Unit(benchmark::kMicrosecond);
  };
  for (const Ops* ops : testing::AllCpuOps()) {
    for (DType type : {DType::kBF16, DType::kF32}) {
      const std::string end =
          std::string("/").append(NameOf(type)).append("/").append(ops->instruction_set);
      for (const auto& [n, k] : {std::pair<int64_t, int64_t>{576, 576},
                                 {192, 576},
                                 {1536, 576},
                                 {576, 1536},
                                 {49152, 576},
                                 {4096, 4096}}) {
        const std::string shape = std::to_string(n) + "x" + std::to_string(k) + end;
        for (int64_t m : {1, 2, 4, 8}) {
          add("decode/m" + std::to_string(m) + "/" + shape, 7,
              [ops, type, m, n = n, k = k](benchmark::State& s) {
                Decode(s, *ops, type, m, n, k);
              });
        }
        for (int64_t m : {32, 128, 512, 2048}) {
          if (n == 49152 && m > 128) continue;
          add("prefill/m" + std::to_string(m) + "/" + shape, 9,
              [ops, type, m, n = n, k = k](benchmark::State& s) {
                Prefill(s, *ops, type, m, n, k);
              });
        }
      }
      for (const auto& [rows, context] :
           {std::pair<int64_t, int64_t>{1, 128}, {1, 2048}, {8, 128}, {32, 128}}) {
        add("step/rows" + std::to_string(rows) + "/context" + std::to_string(context) + end, 9,
            [ops, type, rows = rows, context = context](benchmark::State& s) {
              RunStep(s, *ops, type, rows, context);
            });
      }
      for (const auto& [rows, tokens] : {std::pair<int64_t, int64_t>{1, 1}, {32, 1}, {1, 512}}) {
        add("recur/rows" + std::to_string(rows) + "/tokens" + std::to_string(tokens) + end, 15,
            [ops, type, rows = rows, tokens = tokens](benchmark::State& s) {
              Recur(s, *ops, type, rows, tokens);
            });
      }
      for (const auto& [rows, context, tokens] : {std::array<int64_t, 3>{1, 512, 1},
                                                  {1, 4096, 1},
                                                  {16, 512, 1},
                                                  {1, 512, 512},
                                                  {1, 4096, 512}}) {
        const std::string shape = "/rows" + std::to_string(rows) + "/context" +
                                  std::to_string(context) + "/tokens" + std::to_string(tokens) +
                                  end;
        for (const Heads* heads : {&kSmall, &kLatent}) {
          add((heads == &kSmall ? "attention" : "latent_attention") + shape, 9,
              [ops, type, heads, rows = rows, context = context, tokens = tokens](
                  benchmark::State& s) { Attend(s, *ops, type, *heads, rows, context, tokens); });
        }
      }
    }
  }
}

}  // namespace
}  // namespace shardline

int main(int argc, char** argv) {
  // libtorch's threads must sleep, not spin, while ours are timed;
  // ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 keeps oneDNN from the matrix units that our kernels do not
  // use.
  if (setenv("OMP_WAIT_POLICY", "passive", 0) == 0 &&
      std::getenv("SHARDLINE_BENCHMARK") == nullptr) {
    setenv("SHARDLINE_BENCHMARK", "1", 1);
    execv("/proc/self/exe", argv);  // libgomp has read the environment already
  }
  shardline::Register();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
