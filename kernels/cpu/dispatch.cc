// Chooses the instruction set: the best one that the processor and the operating system support, or
// the one that SHARDLINE_CPU_ISA names.
#include <cpuid.h>

#include <cstdlib>

#include "kernels/cpu/ops.h"

namespace shardline {
namespace {

struct Choice {
  const Ops* ops;
  bool available;
};

// Clang 14's __builtin_cpu_supports does not know this one.
bool HasF16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

// The first available one that is wanted, best first. `__builtin_cpu_supports` asks cpuid, and
// xgetbv for the registers that the system saves.
template <typename Visit>
const Ops* FirstOf(const Visit& wanted) {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq");
  const bool avx512_bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  const Choice choices[] = {{&kAvx512Bf16Ops, avx512_bf16},
                            {&kAvx512Ops, avx512},
                            {&kAvx2Ops, avx2},
                            {&kScalarOps, true}};
  for (const Choice& choice : choices) {
    if (choice.available && wanted(*choice.ops)) return choice.ops;
  }
  return nullptr;
}

}  // namespace

const Ops* CpuOpsFor(std::string_view instruction_set) {
  return FirstOf([&](const Ops& ops) { return ops.instruction_set == instruction_set; });
}

const Ops& CpuOps() {
  static const Ops* const chosen = [] {
    if (const char* name = std::getenv("SHARDLINE_CPU_ISA"); name != nullptr) {
      if (const Ops* ops = CpuOpsFor(name); ops != nullptr) return ops;
    }
    // vdpbf16ps does two multiplications per lane. An Intel processor with AMX was measured to
    // start a quarter as many of them in a cycle as f32 multiply-adds, so there widened bf16 is
    // faster; on AMD's Zen 4 a prompt took 0.56 of the time with it. SHARDLINE_CPU_ISA overrides
    // it.
    const bool slow_pairs = __builtin_cpu_is("intel");
    return FirstOf([&](const Ops& ops) { return !slow_pairs || &ops != &kAvx512Bf16Ops; });
  }();
  return *chosen;
}

}  // namespace shardline
