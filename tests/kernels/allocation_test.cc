// With the scratch memory that scratch_bytes asks for, no operation allocates.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/kernels/tensor.h"

namespace {
std::atomic<long> allocations{0};

void* Allocate(size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes); memory != nullptr) return memory;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(size_t bytes) { return Allocate(bytes); }
void* operator new[](size_t bytes) { return Allocate(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace shardline {
namespace {

using testing::Machine;
using testing::Tensor;
using testing::Weights;

constexpr int64_t kHeads = 9, kKvHeads = 3, kHeadDim = 64, kHidden = 576, kBlock = 16,
                  kContext = 1100;

// Counts what a call of every operation allocates, for `tokens` tokens at the end of one sequence.
long Allocations(const Ops& ops, DType type, int64_t tokens, int threads) {
  const ScratchLimits limits{.max_tokens = tokens,
                             .max_context = kContext,
                             .heads = kHeads,
                             .kv_heads = kKvHeads,
                             .head_dim = kHeadDim,
                             .hidden = kHidden};
  Machine machine(threads, ops.scratch_bytes(limits, threads));
  const int64_t blocks = (kContext + kBlock - 1) / kBlock;
  Tensor x(type, {tokens, kHidden}), w(type, {kHidden, kHidden}), y(x),
      weight(DType::kF32, {kHidden});
  Tensor kv(type, {tokens, kKvHeads, kHeadDim}), pages(type, {blocks, kKvHeads, kBlock, kHeadDim});
  Tensor angles(DType::kF32, {tokens, kHeadDim / 2});
  x.Random(1), w.Random(2), kv.Random(3), pages.Random(4);
  const Weights weights(ops, w, type);
  std::vector<uint32_t> ids(static_cast<size_t>(tokens), 5);
  std::vector<int64_t> slots(static_cast<size_t>(tokens));
  for (int64_t t = 0; t < tokens; ++t) slots[t] = kContext - tokens + t;
  std::vector<int32_t> table(static_cast<size_t>(blocks));
  for (int64_t i = 0; i < blocks; ++i) table[i] = static_cast<int32_t>(i);
  const AttentionRow row{.first_token = 0,
                         .token_count = static_cast<int32_t>(tokens),
                         .first_position = static_cast<int32_t>(kContext - tokens),
                         .blocks = table.data()};
  const View q = x.view().SplitColumns(kHeads, kHeadDim),
             out = y.view().SplitColumns(kHeads, kHeadDim);
  Tensor taps(DType::kF32, {kHidden * 2}), inputs(type, {1, 1, kHidden});
  Tensor decay(DType::kF32, {kHidden, 4}), state(DType::kF32, {1, 4, kHidden});
  const KvPages kv_pages{.k = pages, .v = pages};

  const long before = allocations.load();
  ops.embed(machine, View::Contiguous(ids.data(), DType::kU32, {tokens}), weights.packed, 1.0f, y);
  ops.matmul(machine, x, weights.packed, &weight.view(), y);
  ops.rms_norm(machine, x, weight, Norm{1e-5f}, y);
  ops.rope(machine, q, angles, angles, RopeStyle::kHalf);
  ops.kv_write(machine, kv, kv, View::Contiguous(slots.data(), DType::kI64, {tokens}), kv_pages);
  ops.attention(
      machine,
      {.q = q, .out = out, .pages = kv_pages, .rows = &row, .row_count = 1, .scale = 0.1f});
  ops.gated(machine, Activation::kSilu, x, x, y);
  ops.add(machine, x, y);
  ops.scale(machine, x, 0.5f, 2.0f);
  ops.conv(
      machine,
      {.x = x, .weight = taps, .taps = 2, .state = inputs, .rows = &row, .row_count = 1, .y = y});
  ops.scan(machine, {.x = x,
                     .dt = x,
                     .gate = x,
                     .b = x.view().Columns(0, 4),
                     .c = x.view().Columns(4, 4),
                     .a = decay,
                     .d = weight,
                     .dt_bias = weight,
                     .state = state,
                     .rows = &row,
                     .row_count = 1,
                     .y = y});
  return allocations.load() - before;
}

TEST(Allocation, OperationsAllocateNothing) {
  for (const Ops* ops : testing::AllCpuOps()) {
    for (DType type : {DType::kF32, DType::kBF16, DType::kF16}) {
      for (int64_t tokens : {1, 2, 13, 300}) {
        for (int threads : {1, 2, 5}) {
          EXPECT_EQ(Allocations(*ops, type, tokens, threads), 0)
              << ops->instruction_set << " " << NameOf(type) << " tokens " << tokens << " threads "
              << threads;
        }
      }
    }
  }
}

TEST(Allocation, TooLittleScratchIsMadeUpFor) {
  Tensor x(DType::kF32, {3, 8}), w(DType::kF32, {4, 8}), y(DType::kF32, {3, 4});
  x.Random(1), w.Random(2);
  const Weights weights(CpuOps(), w, DType::kF32);
  const long before = allocations.load();
  CpuOps().matmul({}, x, weights.packed, nullptr, y);
  EXPECT_GT(allocations.load(), before);
}

}  // namespace
}  // namespace shardline
