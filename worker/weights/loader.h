// Brings a checkpoint's tensors into the places that a weight plan names: finds each by the
// family's table, checks everything before reading anything, then widens, reorders and packs on all
// threads.
#pragma once

#include <functional>
#include <memory>

#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"
#include "shared/base/status.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/mapped_memory.h"
#include "worker/weights/name_map.h"
#include "worker/weights/weight_plan.h"

namespace shardline {

struct LoadOptions {
  const Ops* ops = nullptr;
  ThreadPool* threads = nullptr;  // null: the calling thread alone
  DType type = DType::kF32;  // of matrices; vectors are kept in f32, rounded as their slots say
  std::function<void(double fraction)> progress;  // called on the calling thread; may be empty
};

// Where the targets' bytes stand in the memory that LoadWeights allocates, in the plan's order.
struct WeightLayout {
  std::vector<size_t> matrices, vectors;
  size_t bytes = 0;  // of all
};
WeightLayout LayOutWeights(const WeightPlan& plan, const Ops& ops, DType type);
size_t PackedBytes(const MatrixTarget& target, const Ops& ops, DType type);

// Errors: InvalidArgument "FILE: missing tensors: …; unused tensors: …; wrong shapes: …; …", all at
// once; ResourceExhausted naming the file. The targets point into the memory returned. Peak memory
// is that, plus a megabyte (or kPackedRows rows, if they are more) for each thread, or one widened
// vector. The file's pages that are mapped meanwhile are clean: the kernel drops them when it
// wants.
absl::StatusOr<MappedMemory> LoadWeights(const Checkpoint& checkpoint, const NameTable& names,
                                         const WeightPlan& plan, const LoadOptions& options);

}  // namespace shardline
